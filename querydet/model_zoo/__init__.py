"""Published models by name, as ``detectron2.model_zoo`` has Detectron2's.

    from querydet import model_zoo
    model = model_zoo.get("h_detr_r50_12ep", trained=True)

Weights are downloaded from where the authors publish them, verified and converted. From then on ``querydet://NAME`` is
the address of such weights wherever Detectron2 takes a path.
"""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
    from querydet.model_zoo.zoo import get, get_checkpoint_file, get_checkpoint_url, get_config, get_entry, names

__all__ = ["get", "get_checkpoint_file", "get_checkpoint_url", "get_config", "get_entry", "names"]

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__, {"querydet.model_zoo.zoo": "get get_checkpoint_file get_checkpoint_url get_config get_entry names"}
    )
