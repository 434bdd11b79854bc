"""Parameters shared out over processes: the run is that of one process, and checkpoints do not show it."""

import pytest
import torch

from querydet.engine import train
from querydet.engine.distributed.sharding import is_sharded
from tests.engine.conftest import DINO_CONFIG
from tests.engine.test_train_net import read_checkpoint, read_metrics

OPTIONS = ["train.log_period=1", "train.eval_period=2it", "train.checkpointer.period=2it", "optimizer.lr=0.001"]
SHARDED = ["--num-gpus", "0", "--num-processes", "2", "--resume", "train.sharding.enabled=True"]


def assert_close(found, wanted, where=""):
    """Nested dicts and lists of tensors and numbers, to what summing in another order changes."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key in wanted:
            assert_close(found[key], wanted[key], f"{where}/{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for index, pair in enumerate(zip(found, wanted, strict=True)):
            assert_close(*pair, f"{where}/{index}")
    elif isinstance(wanted, torch.Tensor):
        assert type(found) is torch.Tensor, where
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5, msg=where)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5, nan_ok=True), where
    else:
        assert found == wanted, where


@pytest.mark.slow
def test_a_sharded_run_equals_one_process_and_is_resumed_by_either(toy_config, train_net, tmp_path):
    """With a moving average, micro-batches, and an odd number of test images, which processes share unequally."""
    options = [*OPTIONS, "train.micro_batches=2"]
    train(toy_config(*options, "train.max_iter=4", folder="one"))
    folder = tmp_path / "sharded"
    done = train_net(*SHARDED, f"train.output_dir={folder}", *options, "train.max_iter=2", timeout=400)
    assert done.returncode == 0, done.stderr
    done = train_net(*SHARDED, f"train.output_dir={folder}", *options, "train.max_iter=4", timeout=400)
    assert done.returncode == 0, done.stderr
    for name in ("model_final.pth", "model_best.pth"):
        found, wanted = read_checkpoint(folder / name), read_checkpoint(tmp_path / "one" / name)
        for part in ("model", "ema", "iteration"):
            assert_close(found[part], wanted[part], name)
        assert_close(found["trainer"]["optimizer"]["state"], wanted["trainer"]["optimizer"]["state"], name)
    for line, wanted in zip(read_metrics(folder), read_metrics(tmp_path / "one"), strict=True):
        assert_close(line, wanted)
    train(toy_config(*options, "train.max_iter=6", folder="sharded"), resume=True)
    train(toy_config(*options, "train.max_iter=6", folder="one"), resume=True)
    assert_close(read_metrics(folder)[-1], read_metrics(tmp_path / "one")[-1])


@pytest.mark.slow
def test_a_sharded_dino_equals_one_process(toy_config, train_net, tmp_path):
    """With activation checkpointing, and a step that is left out."""
    options = [*OPTIONS, "train.max_iter=4", "model.backbone.nan_at=2", "train.max_nonfinite_steps=1"]
    options += ["train.activation_checkpointing=[backbone,encoder,decoder]"]
    train(toy_config(*options, folder="one", config=DINO_CONFIG))
    folder = tmp_path / "sharded"
    done = train_net(
        *SHARDED, f"train.output_dir={folder}", *options, "model.backbone.nan_rank=1", config=DINO_CONFIG, timeout=400
    )
    assert done.returncode == 0, done.stderr
    for line, wanted in zip(read_metrics(folder), read_metrics(tmp_path / "one"), strict=True):
        assert_close(line, wanted)
    found, wanted = (read_checkpoint(each / "model_final.pth")["model"] for each in (folder, tmp_path / "one"))
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in wanted.items()}
    for key, value in wanted.items():
        # A bias before a norm has no gradient but rounding, which AdamW turns into a step of full size.
        torch.testing.assert_close(found[key], value, rtol=0, atol=3 * 0.001, msg=key)


def test_one_process_has_nobody_to_share_with(toy_config):
    with pytest.raises(ValueError, match="needs several processes: start more, or switch it off"):
        is_sharded(toy_config("train.sharding.enabled=True").train)
