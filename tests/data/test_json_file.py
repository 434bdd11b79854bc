"""A json is read whole or refused by name; see test_coco_checks.py for what data sets make of it."""

import pytest

from querydet.data.json_file import read_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_unicode_is_read(tmp_path, encoding):
    path = tmp_path / "x.json"
    path.write_bytes('{"name": "Käfer"}'.encode(encoding))
    assert read_json(str(path)) == {"name": "Käfer"}


@pytest.mark.parametrize("content", [b"", b" ", b"{", b'{"a": 1} x'])
def test_what_is_no_json_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json is not valid json"):
        read_json(str(path))
