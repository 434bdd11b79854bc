"""The schedule of the learning rate, also of a run that is resumed with another one."""

import torch
from detectron2.engine.hooks import LRScheduler as _LRScheduler

from querydet.engine.solver import EpochScheduler


class LRScheduler(_LRScheduler):
    """Detectron2's hook; differs in that a changed config changes the learning rates of a resumed run.

    Args:
        optimizer: the optimizer.
        scheduler: its schedule.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scheduler: EpochScheduler) -> None:
        super().__init__(optimizer, scheduler)

    def before_train(self) -> None:
        """Replace the learning rates that were restored with the optimizer's state by those of the schedule."""
        super().before_train()
        self.scheduler.apply()
