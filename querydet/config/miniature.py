"""Miniature compositions: every part of the real one, small enough to train from scratch on a CPU in minutes."""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet
from omegaconf import DictConfig

EMBED_DIM = 96
CHANNELS = {"res3": 64, "res4": 128, "res5": 256}
NUM_LEVELS = 3
ONE_MAP = "res3"  # stride 8, for standard attention: the images are small
NUM_QUERIES = 40
FINE_MAP, FINE_CHANNELS = "res2", 32  # stride 4, for masks
NUM_POINTS = 1024  # at which masks are compared


def shrink(model: DictConfig) -> DictConfig:
    """Reduce the sizes of a composition and keep everything else.

    Args:
        model: a detector of `configs/common/models`; it is changed in place.

    Returns:
        `model` itself.
    """
    one_map = model.neck.num_levels == 1
    model.neck.in_channels = {ONE_MAP: CHANNELS[ONE_MAP]} if one_map else dict(CHANNELS)
    model.neck.num_levels = 1 if one_map else NUM_LEVELS
    fine = [] if model.get("masks") is None else [FINE_MAP]
    model.backbone = _narrow_resnet([*fine, *model.neck.in_channels])
    model.neck.embed_dim = EMBED_DIM
    for part, layers in ((model.encoder, 1), (model.decoder, 3)):
        part.num_layers = layers
        part.layer.num_heads = 4
        part.layer.ffn_dim = 256
        part.layer.dropout = 0.0
    model.selection.get("selection", model.selection).num_queries = NUM_QUERIES  # that of the primary group
    if "num_groups" in model.selection:
        model.selection.num_groups = 5
    if "extra_queries" in model.selection:
        model.selection.extra_queries = 3 * NUM_QUERIES
    denoising = model.denoising or {}
    denoising = denoising.get("denoising", denoising)  # `GroupedDenoising` wraps the one of each group
    if "num_queries" in denoising.get("groups", {}):
        denoising.groups.num_queries = 25
    if fine:
        _shrink_masks(model)
    return model


def _shrink_masks(model: DictConfig) -> None:
    """Let pixels at stride 4 make the masks of a composition, and compare them at few points.

    Raises:
        ValueError: the masks of the composition are no products of queries and pixels.
    """
    if list(model.masks.head.in_channels) != [FINE_MAP]:
        raise ValueError(
            f"masks in miniature are made from {FINE_MAP} (common/models/masks/dot_product.py), the composition makes "
            f"them from {list(model.masks.head.in_channels)}: the group norms of that head do not fit narrow maps"
        )
    model.masks.head.in_channels = {FINE_MAP: FINE_CHANNELS}
    for rule in model.criterion.rules.values():
        for part in (rule.assigner.get("mask_cost"), *rule.losses.values()):
            if part is not None and "num_points" in part:
                part.num_points = NUM_POINTS


def _narrow_resnet(maps: list[str]) -> DictConfig:
    """Configure a ResNet of one basic block per stage, up to the last map; its group norm needs no large batch."""
    stages = [(32, 32, 1), (32, 64, 2), (64, 128, 2), (128, 256, 2)]  # res2 to res5: channels in and out, stride
    return L(ResNet)(
        stem=L(BasicStem)(in_channels=3, out_channels=32, norm="GN"),
        stages=[
            L(ResNet.make_stage)(
                block_class=BasicBlock,
                num_blocks=1,
                in_channels=in_channels,
                out_channels=out_channels,
                stride_per_block=[stride],
                norm="GN",
            )
            for in_channels, out_channels, stride in stages[: int(maps[-1].removeprefix("res")) - 1]
        ],
        out_features=maps,
        freeze_at=0,
    )
