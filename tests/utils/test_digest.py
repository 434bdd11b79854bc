"""Checksums of files."""

import hashlib

import pytest

from querydet.utils.digest import hash_file


@pytest.mark.parametrize("size", [0, 3, (1 << 20) + 1])
def test_the_checksum_is_that_of_the_content(size, tmp_path):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(content)
    assert hash_file(str(tmp_path / "file")) == hashlib.sha256(content).hexdigest()
