"""What may change in a run that is resumed."""

import pytest
from detectron2.config import LazyCall as L

from querydet.config import save_config
from querydet.data import RepeatFactors
from querydet.engine import train
from querydet.engine.run.changes import changes


@pytest.fixture
def started(toy_config, tmp_path):
    """A run that has a checkpoint."""
    (tmp_path / "run").mkdir()
    save_config(toy_config("train.max_iter=1"), str(tmp_path / "run" / "config.yaml"))
    (tmp_path / "run" / "model_0000000.pth").write_bytes(b"some")


@pytest.mark.usefixtures("started")
def test_how_to_go_on_may_change_and_is_listed(toy_config):
    assert changes(toy_config("train.max_iter=1")) == []
    options = ["train.max_iter=9", "optimizer.lr=0.5", "dataloader.train.mapper.on_bad_image=skip"]
    found = "\n".join(changes(toy_config(*options)))
    assert "train.max_iter: 1 -> 9" in found
    assert "optimizer.lr: 0.01 -> 0.5" in found
    assert "dataloader.train.mapper.on_bad_image: (not set) -> 'skip'" in found


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    "option", ["train.seed=1", "dataloader.train.total_batch_size=2", "model.dropout=0.5", "model.dim=16"]
)
def test_what_makes_it_another_run_is_refused_unless_wanted(toy_config, option):
    with pytest.raises(ValueError, match=rf"started with another config:\n  {option.split('=')[0]}: .* -> .*\nResume"):
        changes(toy_config(option))
    assert len(changes(toy_config(option, "train.allow_changed_config=True", "train.max_iter=1"))) == 2


@pytest.mark.usefixtures("started")
def test_other_repeats_of_images_are_refused(toy_config):
    other = toy_config()
    other.dataloader.train.repeat = L(RepeatFactors)(threshold=0.5)
    with pytest.raises(ValueError, match=r"dataloader\.train\.repeat.*threshold: \(not set\) -> 0\.5"):
        changes(other)


def test_nothing_to_resume_nothing_to_compare(toy_config, tmp_path):
    assert changes(toy_config("train.seed=1")) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("train: {seed: 7}")
    assert changes(toy_config("train.seed=1")) == []


@pytest.mark.usefixtures("started")
def test_half_a_config_is_no_reason_to_refuse(toy_config, tmp_path):
    (tmp_path / "run" / "config.yaml").write_text("train: {seed: [")
    assert "cannot be read" in changes(toy_config("train.seed=1"))[0]


def test_other_training_data_are_refused(toy_config):
    train(toy_config("train.max_iter=1"))
    fewer = ["train.max_iter=2", "dataloader.train.dataset.num_images=12"]
    with pytest.raises(ValueError, match="started on 16 training images, now there are 12"):
        train(toy_config(*fewer), resume=True)
    train(toy_config(*fewer, "train.allow_changed_config=True"), resume=True)
