"""Everything that a training run is made of, built and ready to start."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from torch import nn
from torch.optim.swa_utils import AveragedModel

from querydet.checkpoint import Checkpointer
from querydet.engine.evaluation import Evaluation
from querydet.engine.faults.stopping import StopRequest
from querydet.engine.run.run_length import RunLength
from querydet.engine.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """Parts of one training run in one process.

    Args:
        cfg: the complete config.
        length: length of the run in iterations.
        start_iter: first iteration to run.
        checkpoint: path of the checkpoint to resume from; "" for a new run.
        model: the model on its device, without a wrapper.
        ema: moving average of its weights; None where it is switched off.
        trainer: trains the model.
        checkpointer: saves and loads model, average and trainer.
        test: test data and evaluator; None: nothing is evaluated.
        data: fingerprint of the training data; empty on other than the main process.
        started: time at which building began, in seconds since the epoch.
    """

    cfg: DictConfig
    length: RunLength
    start_iter: int
    checkpoint: str
    model: nn.Module
    ema: AveragedModel | None
    trainer: Trainer
    checkpointer: Checkpointer
    test: Evaluation | None
    data: dict[str, Any]
    started: float

    @property
    def evaluated_model(self) -> nn.Module:
        """The model with the weights that count: the average if there is one."""
        return self.ema.module if self.ema else self.model

    @property
    def models(self) -> list[nn.Module]:
        """The model, and its average if there is one."""
        return [self.model, *([self.ema.module] if self.ema else [])]

    @property
    def request(self) -> StopRequest:
        """Requests to stop that this process has received."""
        return self.trainer.request
