"""Checkpoints: written atomically, resumed from the last complete one, loaded strictly, adapted on request."""

from querydet.checkpoint.addresses import register_published_models
from querydet.checkpoint.checkpointer import Checkpointer, load_adapted, load_weights
from querydet.checkpoint.folder import last_iteration
from querydet.checkpoint.regular import check_exists
from querydet.checkpoint.surgery import Surgery, adapt

__all__ = [
    "Checkpointer",
    "Surgery",
    "adapt",
    "check_exists",
    "last_iteration",
    "load_adapted",
    "load_weights",
    "register_published_models",
]
