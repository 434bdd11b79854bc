"""Published models by name, as ``detectron2.model_zoo`` has Detectron2's.

    from querydet import model_zoo
    model = model_zoo.get("h_detr_r50_12ep", trained=True)

Weights are downloaded from where the authors publish them, verified and converted.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from querydet.model_zoo.zoo import get, get_checkpoint_file, get_checkpoint_url, get_config, get_entry, names

__all__ = ["get", "get_checkpoint_file", "get_checkpoint_url", "get_config", "get_entry", "names"]


def __getattr__(name: str) -> Any:
    """Loads the zoo when it is first used: the checkpointer, which the zoo needs, registers its paths."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from querydet.model_zoo import zoo

    return getattr(zoo, name)
