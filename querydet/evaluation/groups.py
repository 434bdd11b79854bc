"""Detections of every group of queries, for models trained with several groups (Group DETR, arXiv 2207.13085).

Inference keeps the primary group, but any group could be used: figure 4 shows that all groups reach about the same AP,
and figure 3 that their queries for an object start from nearby points. Here each group is run like the primary one,
isolated from the others; backbone and encoder run once for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from querydet.evaluation.per_image import ImageTruth
from querydet.evaluation.query_predictions import QueryRecord, match_queries
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.selection.grouped import group_name
from querydet.parts import Assigner
from querydet.structures import PredictionSet
from querydet.traits import trait


def count_groups(model: QueryDetector) -> int:
    """Return the number of groups of queries that the model was trained with.

    Raises:
        ValueError: it is one.
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
    """Compute the predictions of the last decoder layer for every group, the primary one first.

    Args:
        model: in evaluation mode.
        batched_inputs: see `QueryDetector.forward`.

    Raises:
        ValueError: the model has one group, or is in training mode.
    """
    if model.training:
        raise ValueError("groups are compared in evaluation mode: call eval() first")
    count_groups(model)
    images = model.preprocess(batched_inputs)
    memory = model.encode(model.backbone(images.tensor), model.padding_of(padding_mask(images)))
    initial = tuple(
        replace(queries, group=replace(queries.group, name=group_name(index), visible_groups=()))
        for index, queries in enumerate(model.selection(memory, True))
    )
    queries = model.compose_queries(initial, None)
    outputs = model.decoder(queries, memory, model.heads)
    predictions = model.heads(outputs, queries.groups, last_only=True)
    return tuple(replace(prediction_set, masks=memory.masks) for prediction_set in predictions)


@torch.no_grad()
def evaluate_groups(
    model: QueryDetector, loader: Any, evaluators: Sequence[DatasetEvaluator]
) -> list[dict[str, dict[str, float]]]:
    """Evaluate every group as if it were the primary one.

    Args:
        model: in evaluation mode.
        loader: of the test data.
        evaluators: one for each group; they must not need `"queries"`.

    Returns:
        The results of each group.

    Raises:
        ValueError: the model has one group, is in training mode, or there are not as many evaluators as groups.
    """
    groups = count_groups(model)
    if len(evaluators) != groups:
        raise ValueError(f"{groups} groups need as many evaluators, found {len(evaluators)}")
    for evaluator in evaluators:
        evaluator.reset()
    for inputs in loader:
        shapes = [tuple(image_inputs["image"].shape[-2:]) for image_inputs in inputs]
        sizes = [
            (image_inputs.get("height", height), image_inputs.get("width", width))
            for image_inputs, (height, width) in zip(inputs, shapes, strict=True)
        ]
        for predictions, evaluator in zip(predict_groups(model, inputs), evaluators, strict=True):
            detected = model.detections(predictions, sizes, shapes)
            evaluator.process(inputs, [{"instances": instances} for instances in detected])
    return [dict(evaluator.evaluate() or {}) for evaluator in evaluators]


@dataclass(frozen=True, slots=True)
class GroupMatch:
    """The query of a group that is matched with an object."""

    group: str
    query: int  # within the group
    point: Tensor  # (2,), normalised: centre of its initial reference
    box: Tensor  # (4,), normalised cxcywh: its predicted box


def match_groups(
    predictions: Sequence[PredictionSet], truth: ImageTruth, assigner: Assigner, image: int = 0
) -> list[list[GroupMatch]]:
    """Match every object of an image, crowd regions left out, with one query of each group that has one for it.

    Args:
        predictions: from `predict_groups`.
        truth: annotations of the image.
        assigner: the one of training.
        image: index of the image in the batch.

    Raises:
        ValueError: the assigner compares masks.
    """
    matches: list[list[GroupMatch]] = [[] for _ in range(len(truth.objects()))]
    for group_predictions in predictions:
        start, boxes = group_predictions.start_boxes[image].cpu(), group_predictions.boxes[image].cpu()
        record = QueryRecord(start, group_predictions.logits[image].cpu()[None], boxes[None])
        for query, item in zip(*(part.tolist() for part in match_queries(record, truth, assigner)), strict=True):
            matches[item].append(GroupMatch(group_predictions.group.name, query, start[query, :2], boxes[query]))
    return matches
