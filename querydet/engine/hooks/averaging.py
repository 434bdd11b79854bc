"""An exponential moving average of the weights, updated after every step."""

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def build_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Build an exponential moving average of a model's parameters; its buffers are copies of the model's.

    Args:
        model: the model, without a wrapper.
        decay: share of the old average in the new one.

    Raises:
        ValueError: a decay outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"train.ema.decay has to be in [0, 1), got {decay}")
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    ema.requires_grad_(False)
    return ema.eval()


class EMAHook(HookBase):
    """Updates the average after every step that has changed the weights.

    Args:
        ema: from `build_ema`.
        model: the model that is trained, without a wrapper.
    """

    def __init__(self, ema: AveragedModel, model: nn.Module) -> None:
        self._ema = ema
        self._model = model

    @torch.no_grad()
    def after_step(self) -> None:
        """Update the average, unless the step was skipped."""
        if self.trainer.step_applied:
            self._ema.update_parameters(self._model)
