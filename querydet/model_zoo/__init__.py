"""Published models by name, as ``detectron2.model_zoo`` has Detectron2's.

    from querydet import model_zoo
    model = model_zoo.get("h_detr_r50_12ep", trained=True)

Weights are downloaded from where the authors publish them, verified and converted. From then on ``querydet://NAME`` is
the address of such weights wherever Detectron2 takes a path.
"""

from querydet.checkpoint import register_published_models
from querydet.model_zoo.zoo import get, get_checkpoint_file, get_checkpoint_url, get_config, get_entry, names

register_published_models(get_checkpoint_file)

__all__ = ["get", "get_checkpoint_file", "get_checkpoint_url", "get_config", "get_entry", "names"]
