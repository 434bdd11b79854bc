"""Denoising queries, positive and negative, drawn with the objects that they were made from.

DN-DETR (arXiv 2203.01305, section 4.3) has positive queries only; DINO (arXiv 2203.03605, section 3.3) adds negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.modeling.detector import QueryDetector
from querydet.modeling.targets import make_targets
from querydet.traits import trait
from querydet.visualization.drawing import make_visualizer
from querydet.visualization.grids import Panel, sample_image

OBJECT, POSITIVE, NEGATIVE = (1.0, 1.0, 1.0), (0.2, 1.0, 0.3), (1.0, 0.25, 0.2)
LEGEND = {"object": (0.75, 0.75, 0.75), "positive query": POSITIVE, "negative query": NEGATIVE}


@dataclass(frozen=True, slots=True)
class DenoisingQueries:
    """The denoising queries of one image that were made from its objects."""

    boxes: Tensor  # (N, 4), normalised
    labels: Tensor  # (N,) int64, label of their content: the object's, or the one that replaced it
    objects: Tensor  # (N,) int64, index of the object of each
    positive: Tensor  # (N,) bool: whether to reconstruct the object; negatives are to be rejected
    repetition: Tensor  # (N,) int64: equal for a positive and its negative

    @property
    def repetitions(self) -> int:
        """Return how often every object is repeated."""
        return int(self.repetition.max()) + 1 if len(self.repetition) else 0

    def of(self, objects: Sequence[int]) -> "DenoisingQueries":
        """Return the queries of the given objects only."""
        kept = torch.isin(self.objects, torch.tensor(list(objects)))
        return DenoisingQueries(
            self.boxes[kept], self.labels[kept], self.objects[kept], self.positive[kept], self.repetition[kept]
        )


@torch.no_grad()
def denoising_queries(model: QueryDetector, samples: Sequence[dict[str, Any]]) -> list[DenoisingQueries]:
    """Compute the denoising queries of a training batch, those of the primary group if there are several.

    The noise of an image is drawn from its `seed`.

    Args:
        model: a detector with denoising.
        samples: inputs of a training step.

    Returns:
        The queries of each image, on the CPU.

    Raises:
        ValueError: the model has no denoising queries, or the annotations are invalid.
    """
    part = model.denoising
    if part is None:
        raise ValueError(
            "this model has no denoising queries (model.denoising is not set): DN-DETR, DINO and what is combined with "
            "them have some"
        )
    maker = getattr(part, "members", [part])[0]  # of the primary group
    targets = make_targets(samples, model.num_classes, model.device)
    made = maker(targets)[0]
    assert made.group.known is not None
    assert made.group.blocks is not None
    paired = trait(maker, "contrastive")
    table = maker.label_embed.weight
    result = []
    for image, (known, blocks) in enumerate(zip(made.group.known, made.group.blocks, strict=True)):
        queries, objects = known.queries, known.objects
        positive = torch.ones_like(queries, dtype=torch.bool)
        if paired:  # a block holds positive queries, and then the negative one of each
            queries, objects = torch.cat([queries, queries + blocks.size // 2]), objects.repeat(2)
            positive = torch.cat([positive, ~positive])
        content = made.content[image, queries, : table.shape[1]]
        labels = torch.cdist(content.float(), table.float()).argmin(-1)
        repetition = queries // max(blocks.size, 1)
        values = (made.boxes[image, queries], labels, objects, positive, repetition)
        result.append(DenoisingQueries(*(value.cpu() for value in values)))
    return result


def denoising_panels(
    model: QueryDetector,
    samples: Sequence[dict[str, Any]],
    names: Sequence[str],
    image_format: str = "RGB",
    repetitions: int = 2,
    objects: Sequence[int] = (),
) -> list[Panel]:
    """Draw a panel for each image and repetition: objects white, positives green, negatives red and dashed.

    The label of a query is written at its box if it differs from the object's.

    Args:
        model: a detector with denoising.
        samples: inputs of a training step.
        names: class names by index.
        image_format: channel order of the inputs.
        repetitions: maximum index of repetitions of each image.
        objects: indices of the objects whose queries are drawn; empty: all.

    Raises:
        ValueError: as `denoising_queries`, or none of the images has an object with one of the indices.
    """
    most = max((len(sample["instances"]) for sample in samples), default=0)
    if objects and not any(0 <= index < most for index in objects):
        raise ValueError(f"there is no object {objects[0]}: the most crowded of these images has {most}")
    panels = []
    for sample, queries in zip(samples, denoising_queries(model, samples), strict=True):
        image, truth = sample_image(sample, image_format), sample["instances"]
        title = f"image {sample.get('image_id', '?')}"
        if not len(truth):
            panels.append(Panel(make_visualizer(image).output.get_image(), f"{title}: no objects, no denoising"))
        for index in range(min(repetitions, queries.repetitions)):
            shown = f"{title}: repetition {index + 1} of {queries.repetitions}"
            chosen = queries if not objects else queries.of(objects)
            panels.append(Panel(draw_denoising(image, truth, chosen, index, names), shown))
    return panels


def draw_denoising(
    image: np.ndarray, truth: Instances, queries: DenoisingQueries, repetition: int, names: Sequence[str]
) -> np.ndarray:
    """Draw one repetition of an image's objects.

    Args:
        image: (H, W, 3), RGB, uint8.
        truth: `gt_boxes` and `gt_classes` in its pixels.
        queries: denoising queries of the image.
        repetition: index of the repetition.
        names: class names by index.

    Returns:
        The picture, enlarged if the image is small.
    """
    visualizer = make_visualizer(image)
    gt_classes = truth.gt_classes.cpu()
    for box, label in zip(truth.gt_boxes.tensor.cpu().numpy(), gt_classes.tolist(), strict=True):
        visualizer.draw_box(box, alpha=1.0, edge_color=OBJECT)
        visualizer.draw_text(names[label], box[:2].clip(1), color=OBJECT, horizontal_alignment="left")
    size = np.array([image.shape[1], image.shape[0]] * 2)
    for index in (queries.repetition == repetition).nonzero()[:, 0].tolist():
        positive, label = bool(queries.positive[index]), int(queries.labels[index])
        color = POSITIVE if positive else NEGATIVE
        box = cxcywh_to_xyxy(queries.boxes[index]).numpy() * size
        visualizer.draw_box(box, alpha=1.0, edge_color=color, line_style="-" if positive else "--")
        if label != int(gt_classes[queries.objects[index]]):
            visualizer.draw_text(names[label], box[:2].clip(1), color=color, horizontal_alignment="left")
    return visualizer.output.get_image()
