"""Forty predictions for three objects, for which the numbers of released assigners and losses are known."""

from dataclasses import replace

import torch

from querydet.structures import Assignment, ObjectCount, PredictionSet, Targets
from tests.models import make_predictions

CORNERS = [(0.10, 0.90), (0.90, 0.10), (0.50, 0.90)]
BOXES = torch.tensor(
    [[x, 0.30, 0.20, 0.20] for x in (0.30, 0.31, 0.318, 0.33, 0.34, 0.36)]
    + [[0.30, 0.335, 0.20, 0.20], [0.50, 0.50, 0.10, 0.10], [0.78, 0.80, 0.06, 0.06]]
    + [[x, y, 0.05, 0.05] for x, y in CORNERS]
    + [[0.95, 0.50, 0.02, 0.02]] * 28
)
OBJECTS = torch.tensor([[0.30, 0.30, 0.20, 0.20], [0.34, 0.30, 0.20, 0.20], [0.80, 0.80, 0.10, 0.10]])
LABELS = torch.tensor([1, 2, 1])
HUNGARIAN = [(0, 0), (2, 1), (8, 2)]


def recorded() -> tuple[PredictionSet, Targets]:
    logits = torch.full((40, 3), -4.0)
    for query, column, value in ((0, 1, 2.0), (2, 2, 1.0), (4, 2, 0.0), (8, 1, -1.0)):
        logits[query, column] = value
    predictions = replace(make_predictions(1, 40, classes=3), logits=logits[None], boxes=BOXES[None])
    targets = Targets(
        labels=(LABELS,),
        boxes=(OBJECTS,),
        names=("image",),
        seeds=(5,),
        step=ObjectCount((3,)),
    )
    return predictions, targets


def pairs(assignment: Assignment) -> list[tuple[int, int]]:
    return list(zip(assignment.queries.tolist(), assignment.objects.tolist(), strict=True))
