import os

import pytest

from querydet.utils.provenance import provenance, read_parts, recorded


def test_a_result_says_how_it_was_made() -> None:
    found = provenance(["tools/record_run.py", "my run", "--output", "x.json"])
    assert found["command"] == "python tools/record_run.py 'my run' --output x.json"
    assert {"commit", "date", "machine", "load_average", "versions"} <= set(found)
    assert str(found["versions"]).count("torch") == 1


DAMAGES = {
    "empty": b"",
    "half": b'[{"start_iteration": 0, "com',
    "binary": bytes(range(256)),
    "another type": b'{"start_iteration": 0}',
    "entries of another type": b"[1, null]",
    "deep": b"[" * 200_000,
    "a number without end": b"1" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_refused_by_readers_and_put_aside_by_a_resumed_run(tmp_path, damage, caplog):
    path = tmp_path / "run.json"
    path.write_bytes(DAMAGES[damage])
    with pytest.raises(ValueError, match=r"run.json is"):
        read_parts(str(tmp_path))
    with recorded(str(tmp_path), 7, started=0.0):
        pass
    assert (tmp_path / "run.json.damaged").read_bytes() == DAMAGES[damage]
    (part,) = read_parts(str(tmp_path))
    assert part["start_iteration"] == 7
    assert len(caplog.records) == 1


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("start", [0, 7])
def test_what_is_no_file_is_put_aside(tmp_path, make, start):
    make(tmp_path / "run.json")
    with recorded(str(tmp_path), start, started=0.0):
        pass
    assert len(read_parts(str(tmp_path))) == 1
