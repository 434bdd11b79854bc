"""Denoising queries belong to the objects that they were made from."""

from dataclasses import replace

import pytest
import torch

from querydet.modeling.assigners import KnownAssigner
from querydet.structures import Assignment, QueryGroup, Role
from tests.models import make_predictions, make_targets


def test_the_pairs_are_those_that_the_group_carries() -> None:
    known = (Assignment(torch.tensor([3, 0]), torch.tensor([0, 1])), Assignment(torch.tensor([2]), torch.tensor([0])))
    group = QueryGroup("denoising", 0, 4, Role.DENOISING, known=known)
    found = KnownAssigner()(replace(make_predictions(2, 4), group=group), make_targets([2, 1]))
    assert found == known


def test_matching_queries_carry_none() -> None:
    with pytest.raises(ValueError, match=r"decoder layer 3 \(primary queries\) carry no known pairs: KnownAssigner is"):
        KnownAssigner()(make_predictions(1, 4), make_targets([1]))
