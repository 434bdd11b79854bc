"""Costs of all layers are computed together, and assigned together."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from querydet.modeling.assigners import HungarianAssigner, OneToManyAssigner, UnionAssigner
from querydet.modeling.assigners.host import HostAssigner, Request, assign_all
from querydet.modeling.criterion import finite
from querydet.structures import Branch, PredictionSet
from tests.models import make_predictions, make_targets

ASSIGNERS = [
    HungarianAssigner(),
    OneToManyAssigner(),
    OneToManyAssigner(merge_with=HungarianAssigner()),
    UnionAssigner(merge_with=HungarianAssigner()),
]


class Operators(TorchDispatchMode):
    """Counts the operators that compute something; views cost a device nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor | tuple) and not func.is_view:
            self.found[str(func)] += 1
        return result


def layers(queries: list[int]) -> tuple[PredictionSet, ...]:
    """One-to-many predictions of each layer, with so many queries, of three images."""
    made = []
    for layer, count in enumerate(queries):
        main = replace(make_predictions(3, count, seed=layer), layer=layer)
        many = make_predictions(3, count, seed=100 + layer)
        made.append(replace(many, layer=layer, branch=Branch.ONE_TO_MANY, one_to_one=main))
    return tuple(made)


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_layers_of_several_sizes_are_assigned_together_as_alone(assigner: HostAssigner) -> None:
    sets, targets = layers([30, 12, 30, 12, 7]), replace(make_targets([4, 0, 9]), seeds=(1, 2, 3))
    (together,) = assign_all([Request(assigner, sets, targets)])
    for each, found in zip(sets, together, strict=True):
        for image, alone in zip(found, assigner(each, targets), strict=True):
            assert torch.equal(image.queries, alone.queries)
            assert torch.equal(image.objects, alone.objects)


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_layers_add_hardly_any_operators_on_the_device(assigner: HostAssigner) -> None:
    def count(number: int) -> int:
        sets, targets = layers([30] * number), make_targets([4, 0, 9])
        with torch.no_grad(), Operators() as operators:
            assigner.compute(sets, targets)
        return operators.found.total()

    branches = 1 if getattr(assigner, "merge_with", None) is None else 2
    assert count(12) - count(2) <= 10 * 3 * branches  # the columns of each layer and image


def test_looking_for_nan_takes_two_operators_for_a_layer() -> None:
    sets = layers([30] * 12)
    with Operators() as operators:
        found = finite(sets)
    assert found.shape == (12, 2, 3)
    assert found.all()
    assert operators.found.total() <= 2 * len(sets) + 5  # and once, for all, whether the sums are finite
