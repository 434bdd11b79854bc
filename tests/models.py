"""Small detectors for tests: the shipped compositions on a backbone of a few weights."""

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.structures import BitMasks, Boxes, Instances
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor, nn

from querydet.config import get_config
from querydet.modeling.detector import QueryDetector
from querydet.structures import ObjectCount, PredictionSet, QueryGroup, Stage, Targets

COMPOSITIONS = (
    "deformable_detr",
    "deformable_detr_pp",
    "deformable_detr_one_stage",
    "detr",
    "conditional_detr",
    "dab_detr",
    "dn_dab_detr",
    "dn_deformable_encoder",
    "group_detr",
    "group_conditional_detr",
    "group_dab_detr",
    "group_dn_dab_detr",
    "ms_dn_dab_detr",
    "deta_detr",
    "dino",
    "dino_5scale",
    "dab_deformable_detr",
    "dn_detr",
    "group_deformable_detr_pp",
    "group_dino",
    "group_dab_deformable_detr",
    "group_dn_detr",
    "h_detr",
    "ms_dino",
    "ms_dn_detr",
    "ms_group_detr",
    "ms_h_detr",
    "ms_detr",
    "ms_detr_plain",
    "ms_detr_dab",
    "deta_baseline",
    "deta",
    "align_detr",
    "ms_align_detr",
    "dac_detr",
    "dac_detr_plain",
    "ms_dac_detr",
    "mask_deformable_detr",
    "ms_mask_deformable_detr",
    "dino_masks",
    "mask2former",
    "group_mask2former",
)


class PooledBackbone(Backbone):
    """Averages patches and mixes their colours: maps of stride 4 to 32."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.channels = dict(channels)
        self.mix = nn.ModuleDict({name: nn.Conv2d(3, width, 1) for name, width in self.channels.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, conv in self.mix.items():
            stride = 2 ** int(name[-1])
            maps[name] = conv(F.avg_pool2d(images, stride, ceil_mode=True)).relu()
        return maps

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=width, stride=2 ** int(name[-1])) for name, width in self.channels.items()}


def tiny_config(name: str = "dino", **overrides: Any) -> DictConfig:
    """A shipped composition made small; overrides are dotted keys with ``__`` for the dot."""
    model = make_small(get_config(f"common/models/{name}.py").model)
    for key, value in overrides.items():
        OmegaConf.update(model, key.replace("__", "."), value, merge=False)
    return model


def make_small(model: DictConfig) -> DictConfig:
    """Change the sizes of a composition in place."""
    maps = list(model.neck.in_channels)
    selection = model.selection.get("selection", model.selection)
    if len(maps) == 1 and "proposals" in selection:
        maps = ["res4"]  # of stride 16, as with a dilated last stage: one map has few tokens to select from
    channels = {key: 8 * 2**index for index, key in enumerate(maps)}
    model.backbone = L(PooledBackbone)(channels=dict(channels))
    model.num_classes = 5
    if model.get("masks") is not None:
        make_masks_small(model)
    model.neck.in_channels = channels
    model.neck.embed_dim = 32
    for part in (model.encoder, model.decoder):
        part.num_layers = 2
        part.layer.num_heads = 4
        part.layer.ffn_dim = 48
        part.layer.dropout = 0.0
    for rule in model.criterion.rules.values():
        if isinstance(OmegaConf.select(rule, "assigner.copies.counts"), ListConfig):
            rule.assigner.copies.counts = [2, 1]
    selection.num_queries = 12
    for key, value in (("num_groups", 3), ("extra_queries", 20)):
        if key in model.selection:
            model.selection[key] = value
    if "extra_queries" in model.selection:
        model.selection.repeats = 2
    denoising = model.denoising or {}
    denoising = denoising.get("denoising", denoising)
    if "num_queries" in denoising.get("groups", {}):
        denoising.groups.num_queries = 6
    return model


def make_masks_small(model: DictConfig) -> None:
    """Change the sizes of the mask branch of a composition, and add the maps that it reads to the backbone."""
    head, channels = model.masks.head, model.backbone.channels
    for name in head.in_channels:
        channels.setdefault(name, 8)
        head.in_channels[name] = channels[name]
    if "num_heads" in head:  # widths of one eighth and less have to divide into the group norms
        head.in_channels = {"res5": channels["res5"]}
    for rule in model.criterion.rules.values():
        sampled = [rule.assigner.get("mask_cost"), *rule.losses.values()]
        for part in sampled:
            if part is not None and "num_points" in part:
                part.num_points = 40


def tiny_detector(name: str = "dino", seed: int = 0, **overrides: Any) -> QueryDetector:
    """Build a small detector whose heads and offsets are not at their special initial values."""
    torch.manual_seed(seed)
    detector = instantiate(tiny_config(name, **overrides))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return detector


def make_inputs(sizes: list[tuple[int, int]], counts: list[int] | None = None, num_classes: int = 5) -> list[dict]:
    """Random images of the given (height, width), with that many objects each."""
    generator = torch.Generator().manual_seed(sum(map(sum, sizes)))
    inputs = []
    for index, (height, width) in enumerate(sizes):
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        each: dict[str, Any] = {"image": image, "file_name": f"image{index}.jpg", "seed": 100 + index}
        if counts is not None:
            instances = Instances((height, width))
            corner = torch.rand(counts[index], 2, generator=generator) * 0.5
            extent = 0.1 + 0.4 * torch.rand(counts[index], 2, generator=generator)
            scale = torch.tensor([width, height, width, height])
            instances.gt_boxes = Boxes(torch.cat([corner, corner + extent], dim=1) * scale)
            instances.gt_classes = torch.randint(num_classes, (counts[index],), generator=generator)
            instances.gt_masks = BitMasks(ellipses(instances.gt_boxes.tensor, height, width))
            each["instances"] = instances
        inputs.append(each)
    return inputs


def ellipses(boxes_abs: Tensor, height: int, width: int) -> Tensor:
    """Masks (n, height, width) bool of the ellipses in boxes (n, 4), XYXY in pixels."""
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    x0, y0, x1, y1 = boxes_abs[:, :, None, None].unbind(1)
    return ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1


def assert_a_step_lowers_the_loss(detector: QueryDetector) -> None:
    """Train a step on two images, one of them without objects; the gradients after it are kept."""
    inputs = make_inputs([(96, 128), (80, 64)], [3, 0])
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-4)
    totals = []
    for _ in range(2):
        total = torch.stack(list(detector(inputs).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[1] < totals[0]


def make_targets(counts: list[int], num_classes: int = 5) -> Targets:
    """Random objects of a batch."""
    generator = torch.Generator().manual_seed(sum(counts))
    boxes = tuple(
        torch.cat([0.3 + 0.4 * torch.rand(count, 2, generator=generator), torch.full((count, 2), 0.2)], dim=1)
        for count in counts
    )
    return Targets(
        labels=tuple(torch.randint(num_classes, (count,), generator=generator) for count in counts),
        boxes=boxes,
        names=tuple(f"image{index}.jpg" for index in range(len(counts))),
        seeds=tuple(range(len(counts))),
        step=ObjectCount(tuple(counts)),
    )


def make_predictions(batch: int, queries: int, classes: int = 5, seed: int = 0) -> PredictionSet:
    """Random predictions of layer 3, of random boxes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(batch, queries, 2, generator=generator)
    return PredictionSet(
        stage=Stage.DECODER,
        layer=3,
        is_last=False,
        group=QueryGroup("primary", 0, queries),
        logits=torch.randn(batch, queries, classes, generator=generator),
        boxes=torch.cat([centres, 0.1 + 0.3 * torch.rand(batch, queries, 2, generator=generator)], dim=-1),
        start_boxes=torch.cat([centres, torch.full((batch, queries, 2), 0.1)], dim=-1),
    )
