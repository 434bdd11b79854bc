"""Metrics in files that go on without gaps."""

import json

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
