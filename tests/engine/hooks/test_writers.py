"""Metrics in files that go on without gaps."""

import json
import os

import pytest
from detectron2.engine import TrainerBase
from detectron2.utils.events import EventStorage, EventWriter

from querydet.engine import train
from querydet.engine.hooks.writers import ResumableJSONWriter, WriterHook


@pytest.mark.parametrize("period", ["20it", 0])
def test_wrong_log_period_is_refused(toy_config, period):
    with pytest.raises(ValueError, match=r"train.log_period has to be an integer of at least 1"):
        train(toy_config(f"train.log_period={period}"))


def test_lines_after_the_last_checkpoint_and_half_lines_are_removed(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": iteration, "loss": 1.0}) for iteration in (1, 3, 5, 7)]
    path.write_text("\n".join([*lines, '{"iteration": 9, "lo']))
    writer = ResumableJSONWriter(str(path), start_iter=6)
    with EventStorage(5) as storage:
        storage.put_scalar("loss", 2.0)
        writer.write()
    writer.close()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["iteration"], line["loss"]) for line in found] == [(1, 1.0), (3, 1.0), (5, 2.0)]


LINE = b'{"iteration": 1, "loss": 1.0}\n'
DAMAGES = {
    "binary": bytes(range(256)) * 20,
    "another type": b"[1, 2]\n" + LINE,
    "no number": b'{"iteration": "1"}\n{"iteration": null}\n{"iteration": NaN}\n' + LINE,
    "deep": b"[" * 200_000 + b"\n" + LINE,
    "half a line in the middle": b'{"iteration": 0, "lo\n' + LINE,
    "a list for an object": b'{"iteration": [1]}\n' + LINE,
}


def resumed(path, start_iter=6):
    """Writes one line as a resumed run does; returns the iterations in the file."""
    writer = ResumableJSONWriter(str(path), start_iter)
    with EventStorage(start_iter) as storage:
        storage.put_scalar("loss", 2.0)
        writer.write()
    writer.close()
    return [json.loads(line)["iteration"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_kept_aside_and_its_lines_go_on(tmp_path, damage, caplog):
    path = tmp_path / "metrics.json"
    path.write_bytes(DAMAGES[damage])
    assert resumed(path) == ([6] if damage == "binary" else [1, 6])
    assert (tmp_path / "metrics.json.damaged").read_bytes() == DAMAGES[damage]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_kept_aside(tmp_path, make):
    make(tmp_path / "metrics.json")
    assert resumed(tmp_path / "metrics.json") == [6]
    assert sorted(os.listdir(tmp_path)) == ["metrics.json", "metrics.json.damaged"]


def test_a_file_that_cannot_be_read_is_kept_aside(tmp_path, monkeypatch):
    (tmp_path / "metrics.json").write_bytes(LINE)

    def refuse(path, mode="r", **options):
        if mode == "rb":
            raise PermissionError(path)
        return open(path, mode, **options)

    monkeypatch.setattr("querydet.engine.hooks.writers.open", refuse, raising=False)
    assert resumed(tmp_path / "metrics.json") == [6]


def test_an_empty_file_and_a_line_without_an_end_are_no_damage(tmp_path, caplog):
    path = tmp_path / "metrics.json"
    path.write_bytes(b"")
    assert resumed(path) == [6]
    path.write_bytes(LINE.strip())
    assert resumed(path) == [1, 6]
    assert not caplog.records


def test_metrics_that_cannot_be_written_are_no_reason_not_to_train(toy_config, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("querydet.engine.hooks.writers.ResumableJSONWriter", full)
    train(toy_config("train.max_iter=1"))
    assert "metrics.json cannot be written, training goes on without it" in caplog.text


class Writer(EventWriter):
    """Counts what it writes; with a full disk it fails."""

    def __init__(self, full):
        self.full, self.written, self.closed = full, 0, False

    def write(self):
        if self.full:
            raise OSError("No space left on device")
        self.written += 1

    def close(self):
        self.closed = True


class OtherWriter(Writer):
    """Of another type."""


def test_a_full_disk_is_reported_once_and_the_other_writers_go_on(caplog):
    full, fine = Writer(True), OtherWriter(False)
    trainer = TrainerBase()
    trainer.start_iter, trainer.max_iter = 0, 5
    trainer.register_hooks([WriterHook(lambda start: [full, fine], period=2)])
    trainer.before_train()
    with EventStorage() as trainer.storage:
        for trainer.iter in range(5):
            trainer.after_step()
        trainer.after_train()
    assert fine.written == 4  # after iterations 1, 3 and 4, and at the end
    assert full.closed
    assert fine.closed
    assert caplog.text.count("Writer cannot write, training goes on: No space left on device") == 1
