"""Configs of backbones for networks of timm and torchvision, made from the names of these: "timm/regnety_040".

The maps, their channels and the normalisation of the images are those that the adapter finds when it builds the network
without memory. A network with one map of stride 16, a plain vision transformer, comes with the simple feature pyramid
of ViTDet (arXiv 2203.16527, section 3).
"""

import logging
from typing import Any

import torch
from detectron2.config import LazyCall as L
from omegaconf import DictConfig, OmegaConf

logger = logging.getLogger(__name__)

LIBRARIES = ("timm", "torchvision")
MAPS = (["p2", "p3", "p4", "p5"], ["p3", "p4", "p5"], ["p4"])  # the first that a network has
PYRAMID_CHANNELS = 256
HUB = "https://huggingface.co"


def names_a_network(name: str) -> bool:
    """Return whether the name of a backbone is that of a network of a library."""
    library, _, network = name.partition("/")
    return library in LIBRARIES and bool(network) and not network.endswith((".py", ".yaml", ".yml"))


def make_config(name: str) -> DictConfig:
    """Make the config of a backbone, of the form that `config.backbone` describes.

    Args:
        name: "timm/NAME" or "torchvision/NAME".

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: there is no such network, or it cannot serve as a backbone.
    """
    library, _, network = name.partition("/")
    node, built = _first_that_fits(library, network)
    channels = {each: shape.channels for each, shape in built.output_shape().items()}
    weights = {"pixel_mean": list(built.pixel_mean), "pixel_std": list(built.pixel_std), "input_format": "RGB"}
    if address := _address(library, network):
        weights["init_checkpoint"] = address
    else:
        logger.warning("%s names no address of weights for '%s': set train.init_checkpoint", library, network)
    found: dict[str, Any] = {"weights": weights}
    if len(channels) == 1:
        found |= {"backbone": _pyramid(node), "in_channels": dict.fromkeys(("p3", "p4", "p5"), PYRAMID_CHANNELS)}
        return OmegaConf.create(found, flags={"allow_objects": True})
    found |= {"backbone": node, "stride4": {key: channels.pop(key) for key in ("p2",) if key in channels}}
    node.out_features = list(channels)
    return OmegaConf.create({**found, "in_channels": channels}, flags={"allow_objects": True})


def _first_that_fits(library: str, network: str) -> tuple[DictConfig, Any]:
    """Return the node of the adapter, and the adapter without memory, for the first of `MAPS` that it has."""
    from querydet.modeling.backbones.timm import TimmBackbone
    from querydet.modeling.backbones.torchvision import TorchvisionBackbone

    adapter: Any = TimmBackbone if library == "timm" else TorchvisionBackbone
    refusal: ValueError | None = None
    for maps in MAPS:
        arguments: dict[str, Any] = {"name": network, "out_features": maps, "norm": "FrozenBN", "freeze": []}
        try:
            with torch.device("meta"):
                return L(adapter)(**arguments, options={}), adapter(**arguments)
        except ValueError as error:
            refusal = refusal if maps == ["p4"] else error  # what it says of strides 8 to 32 is what helps
    assert refusal is not None
    raise refusal


def _pyramid(node: DictConfig) -> DictConfig:
    from detectron2.modeling import SimpleFeaturePyramid

    return L(SimpleFeaturePyramid)(
        net=node,
        in_feature="p4",
        out_channels=PYRAMID_CHANNELS,
        scale_factors=[2.0, 1.0, 0.5],
        top_block=None,
        norm="LN",
        square_pad=0,
    )


def _address(library: str, network: str) -> str:
    """Return where the library says that the weights of a network are."""
    if library == "timm":
        import timm

        cfg = timm.models.get_pretrained_cfg(network)
        # the files of timm's authors have timm's names; those of others may not, or be arrays of numpy
        if cfg is not None and str(cfg.hf_hub_id or "").startswith("timm/"):
            return f"{HUB}/{cfg.hf_hub_id}/resolve/main/model.safetensors"
        return str(cfg.url or "") if cfg is not None and not cfg.custom_load else ""
    import torchvision

    return str(torchvision.models.get_model_weights(network).DEFAULT.url)
