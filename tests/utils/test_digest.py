"""Checksums of files and texts."""

import hashlib
import os

import pytest

from querydet.utils.digest import hash_file, short_digest


@pytest.mark.parametrize("size", [0, 3, (1 << 20) + 1])
def test_the_checksum_is_that_of_the_content(size, tmp_path):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(content)
    assert hash_file(str(tmp_path / "file")) == hashlib.sha256(content).hexdigest()


def test_texts_and_paths_of_any_bytes_have_a_short_checksum():
    assert short_digest("abc") == "ba7816bf"
    assert short_digest("abc", 12) == "ba7816bf8f01"
    assert short_digest(os.fsdecode(b"\xff.json")) != short_digest(os.fsdecode(b"\xfe.json"))
