"""What hooks that catch up on an earlier iteration share."""

import contextlib
from collections.abc import Iterator

from detectron2.engine import TrainerBase


@contextlib.contextmanager
def after_iteration(trainer: TrainerBase, iteration: int) -> Iterator[None]:
    """Make an earlier iteration the current one while the block runs, which does what that iteration should end with.

    Args:
        trainer: the trainer; its storage follows.
        iteration: number of the iteration, counted from 0.
    """
    start = trainer.iter
    trainer.iter = trainer.storage.iter = iteration
    try:
        yield
    finally:
        trainer.iter = trainer.storage.iter = start
