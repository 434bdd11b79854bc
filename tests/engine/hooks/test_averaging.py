"""The moving average of the weights."""

import torch

from querydet.engine import train


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_average_follows_its_definition(toy_config, tmp_path):
    train(toy_config("train.max_iter=3", "train.ema.decay=0.5", "train.checkpointer.period=1it"))
    steps = [weights(tmp_path / "run" / name) for name in ("model_0000000.pth", "model_0000001.pth", "model_final.pth")]
    ema = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["ema"]
    for name, last in steps[2].items():
        expected = 0.5 * (0.5 * steps[0][name] + 0.5 * steps[1][name]) + 0.5 * last
        torch.testing.assert_close(ema[f"module.{name}"], expected)
