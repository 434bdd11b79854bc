"""Small detectors to export: their backbone is made of strided convolutions, as real ones are."""

import re
from itertools import pairwise
from typing import Any

import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from querydet.export.checking import measure
from querydet.modeling.detector import QueryDetector
from querydet.modeling.layers import MLP
from tests.models import tiny_config

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class ConvBackbone(Backbone):
    """One convolution of stride 2 after the other, with every map from stride 4 on."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.channels = dict(channels)
        names = [name for name in STRIDES if STRIDES[name] <= STRIDES[list(channels)[-1]]]
        widths = [3, 8, *(self.channels.get(name, 8) for name in names)]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.names = names

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = {}
        values = self.convs[0](images)
        for name, conv in zip(self.names, self.convs[1:], strict=True):
            values = conv(values.relu())
            if name in self.channels:
                maps[name] = values
        return maps

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=width, stride=STRIDES[name]) for name, width in self.channels.items()}


def small_detector(name: str, seed: int = 0, **overrides: Any) -> QueryDetector:
    """A composition with one encoder layer, whose proposals and detections overlap, so that suppression matters."""
    config = tiny_config(name, encoder__num_layers=1, **overrides)
    if name == "deta":
        config.selection.iou_threshold = 0.3
        config.postprocess.iou_threshold = 0.3
    of_masks = {} if config.get("masks") is None else dict(config.backbone.channels)
    channels = dict(sorted({**of_masks, **config.neck.in_channels}.items()))
    config.backbone = L(ConvBackbone)(channels=channels)
    torch.manual_seed(seed)
    detector = instantiate(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        heads = [module for name, module in detector.named_modules() if re.search(r"box_heads?(\.\d)?$", name)]
        for head in heads:
            if isinstance(head, MLP):
                head.layers[-1].bias[2:] += 1.0  # large boxes
    return detector


def noise(sizes: list[tuple[int, int]], seed: int = 0) -> list[Tensor]:
    """Images (3, H, W) of the given (height, width), 0 to 255."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (3, *size), generator=generator).float() for size in sizes]


BATCHES = ([(131, 140)], [(260, 150), (135, 301), (200, 200)], [(400, 260)])


TOLERANCE = 1e-3


def assert_same(detector: QueryDetector, run: object, least: int) -> None:
    for sizes in BATCHES:
        found = measure(detector, run, noise(sizes, seed=len(sizes)), TOLERANCE, (least, least))  # type: ignore[arg-type]
        assert found.within(TOLERANCE), found


def assert_same_detections(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Compare what two models return for the same images, with more than five detections in each."""
    for one, other in zip(found, wanted, strict=True):
        instances, expected = one["instances"], other["instances"]
        assert len(expected) > 5
        assert torch.equal(instances.pred_classes, expected.pred_classes)
        assert torch.allclose(instances.scores, expected.scores, atol=1e-5)
        assert torch.allclose(instances.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-2)
        if expected.has("pred_masks"):
            assert (instances.pred_masks != expected.pred_masks).float().mean() < 1e-4
            assert 0 < expected.pred_masks.float().mean() < 1
