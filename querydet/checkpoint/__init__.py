"""Checkpoints: written atomically, resumed from the last complete one, loaded strictly."""

from querydet.checkpoint.checkpointer import Checkpointer, check_exists, load_weights
from querydet.checkpoint.folder import last_iteration

__all__ = ["Checkpointer", "check_exists", "last_iteration", "load_weights"]
