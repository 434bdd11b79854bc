"""Checkpoints: written atomically, resumed from the last complete one, loaded strictly, adapted on request."""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.checkpoint.addresses": "register_published_models",
            "querydet.checkpoint.checkpointer": "Checkpointer load_adapted load_weights",
            "querydet.checkpoint.folder": "last_iteration",
            "querydet.checkpoint.regular": "check_exists",
            "querydet.checkpoint.surgery": "Surgery adapt",
        },
    )
