"""What every group of queries detects, of a model that was trained with several (Group DETR, arXiv 2207.13085).

Inference keeps the primary group, and any other would do: figure 4 shows that all groups reach about the same AP, and
figure 3 that their queries for an object start from neighbouring points. Here each group runs as inference runs the
primary one, without seeing the others; backbone and encoder run once for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from querydet.evaluation.per_image import ImageTruth
from querydet.evaluation.query_predictions import QueryRecord, match_queries
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.selection.grouped import group_name
from querydet.structures import PredictionSet
from querydet.traits import trait


def count_groups(model: QueryDetector) -> int:
    """How many groups of queries the model was trained with.

    Raises:
        ValueError: one alone.
    """
    count = int(trait(model.selection, "num_groups"))
    if count < 2:
        raise ValueError(
            f"the model has one group of queries (model.selection={type(model.selection).__name__}): groups can be "
            "told apart in models that were trained with several, such as projects/group_detr"
        )
    return count


@torch.no_grad()
def predict_groups(model: QueryDetector, batched_inputs: Sequence[dict[str, Any]]) -> tuple[PredictionSet, ...]:
    """The last predictions of every group, the primary one first.

    Args:
        model: in evaluation mode.
        batched_inputs: see :meth:`querydet.modeling.detector.QueryDetector.forward`.

    Raises:
        ValueError: the model has one group, or is in training mode.
    """
    if model.training:
        raise ValueError("groups are compared in evaluation mode: call eval() first")
    count_groups(model)
    images = model.preprocess(batched_inputs)
    memory = model.encoder(model.neck(model.backbone(images.tensor), padding_mask(images)))
    initial = tuple(
        replace(each, group=replace(each.group, name=group_name(number), visible_groups=()))
        for number, each in enumerate(model.selection(memory, True))
    )
    queries = model.compose_queries(initial, None)
    outputs = model.decoder(queries, memory, model.heads)
    return model.heads(outputs, queries.groups, last_only=True)


def evaluate_groups(
    model: QueryDetector, loader: Any, evaluators: Sequence[DatasetEvaluator]
) -> list[dict[str, dict[str, float]]]:
    """Evaluate every group as if it were the primary one.

    Args:
        model: in evaluation mode.
        loader: of the test data.
        evaluators: one for each group; none may look inside the detector.

    Returns:
        The results of each.

    Raises:
        ValueError: the model has one group, is in training mode, or there are not as many evaluators as groups.
    """
    groups = count_groups(model)
    if len(evaluators) != groups:
        raise ValueError(f"{groups} groups need as many evaluators, found {len(evaluators)}")
    for evaluator in evaluators:
        evaluator.reset()
    for inputs in loader:
        shapes = [each["image"].shape[-2:] for each in inputs]
        sizes = [
            (each.get("height", height), each.get("width", width))
            for each, (height, width) in zip(inputs, shapes, strict=True)
        ]
        for found, evaluator in zip(predict_groups(model, inputs), evaluators, strict=True):
            detected = model.postprocess(found.logits, found.boxes, sizes)
            evaluator.process(inputs, [{"instances": each} for each in detected])
    return [dict(evaluator.evaluate() or {}) for evaluator in evaluators]


@dataclass(frozen=True, slots=True)
class GroupMatch:
    """The query of a group that is matched with an object."""

    group: str
    query: int  # within the group
    point: Tensor  # (2,), normalised: the centre of where it starts
    box: Tensor  # (4,), normalised: what it predicts


def match_groups(
    predictions: Sequence[PredictionSet], truth: ImageTruth, assigner: HungarianAssigner, image: int = 0
) -> list[list[GroupMatch]]:
    """For every object of an image, crowd regions left out, the matched query of each group that has one.

    Args:
        predictions: from :func:`predict_groups`.
        truth: annotations of the image.
        assigner: the one of training.
        image: its place in the batch.
    """
    found: list[list[GroupMatch]] = [[] for _ in range(len(truth.objects()))]
    for each in predictions:
        start, boxes = each.start_boxes[image].cpu(), each.boxes[image].cpu()
        record = QueryRecord(start, each.logits[image].cpu()[None], boxes[None])
        for query, item in zip(*(part.tolist() for part in match_queries(record, truth, assigner)), strict=True):
            found[item].append(GroupMatch(each.group.name, query, start[query, :2], boxes[query]))
    return found
