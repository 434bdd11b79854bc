"""Losses that draw classes know how many training images have each."""

from types import SimpleNamespace

import pytest
from torch import nn

from querydet.data.stream import PositionStream
from querydet.engine.class_counts import give_class_counts, needs_class_counts
from querydet.modeling.federated import FederatedFocalLoss
from querydet.modeling.losses import FocalLoss
from tests.data.test_class_counts import named  # noqa: F401 - a fixture


def with_losses(*terms):
    model = nn.Module()
    rules = {str(k): SimpleNamespace(losses={"class": term}) for k, term in enumerate(terms)}
    model.criterion = SimpleNamespace(rules=rules)
    return model


def test_every_loss_that_asks_gets_them(named):  # noqa: F811
    terms = [FocalLoss(weight=1.0), FederatedFocalLoss(weight=1.0), FederatedFocalLoss(weight=1.0, power=1.0)]
    dataset = named([0, 1], [1], [1, 3], [1])
    give_class_counts(with_losses(*terms), dataset)
    assert terms[1]._weights.tolist() == [1, 2, 0, 1]
    give_class_counts(with_losses(*terms), PositionStream(dataset, dict, seed=1))
    assert terms[2]._weights.tolist() == [1, 4, 0, 1]


def test_data_are_read_only_if_a_loss_asks():
    assert not needs_class_counts(nn.Module())
    assert not needs_class_counts(with_losses(FocalLoss(weight=1.0)))
    give_class_counts(with_losses(FocalLoss(weight=1.0)), None)
    model = with_losses(FederatedFocalLoss(weight=1.0))
    assert needs_class_counts(model)
    with pytest.raises(ValueError, match="no class names are registered"):
        give_class_counts(model, [])
