"""The benchmark of annotation files writes files that load, and measures what it says."""

import json
import mmap
from pathlib import Path

import pytest

from benchmarks import annotations
from querydet.data.coco_records import ReadingRules, read_records

MB = {"resident": 2.5, "private": 1.5, "share": 1.0}
OPENED = {"seconds": 1.0, "MB_opened": MB, "objects": 31, "seconds_of_reading_all": 2.0, "MB_read": MB}


def test_the_file_is_right(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    annotations.write_file(path, boxes=31)
    loaded = read_records(str(path), "images", ReadingRules())
    assert [len(loaded.records), len(loaded.classes.names)] == [2, 365]
    assert sum(len(record["annotations"]) for record in loaded.records) == 31
    assert loaded.notes == ()
    assert [item["iscrowd"] for record in loaded.records for item in record["annotations"]].count(1) == 1


def test_memory_is_that_of_the_process() -> None:
    before = annotations.megabytes()
    block = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # whatever the allocator keeps
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1
    now = annotations.megabytes()
    assert 31 < now["private"] - before["private"] < 40
    assert now["resident"] >= now["share"] >= now["private"] > 31
    assert len(block)


def test_results_are_written_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = {"json_MB": 0.1, "columns_MB": 0.05, "build": {"seconds": 3.0, "MB_opened": MB, "MB_most": 7.0}}
    measured |= {"first": OPENED, "second": OPENED, "in_memory": OPENED}
    monkeypatch.setattr(annotations, "measure", lambda path, in_memory: measured)
    output = tmp_path / "out.json"
    assert annotations.main(["--boxes", "31", "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["boxes"] == 31
    assert {"command", "commit", "date", "machine"} <= found.keys()
    assert "31 boxes, 0.1 MB of json" in capsys.readouterr().out


@pytest.mark.slow  # four new processes
def test_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUERYDET_CACHE", raising=False)
    path = tmp_path / "boxes.json"
    annotations.write_file(path, boxes=3000)
    found = annotations.measure(path, in_memory=True)
    assert [found[part]["objects"] for part in ("first", "second", "in_memory")] == [3000] * 3
    assert found["columns_MB"] > 0.1
