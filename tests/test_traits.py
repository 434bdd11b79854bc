"""Traits have one default each, and a part may declare its own value."""

import pytest
from detectron2.config import instantiate

from querydet.modeling.federated import FederatedFocalLoss
from querydet.traits import TRAITS, trait
from tests.models import COMPOSITIONS, tiny_config


class Part:
    contrastive = True
    num_levels = None


def test_a_part_s_own_value_comes_before_the_default():
    assert trait(Part(), "contrastive") is True
    assert trait(object(), "contrastive") is False
    assert trait(Part(), "num_groups") == TRAITS["num_groups"].default == 1


def test_what_a_part_does_not_know_stays_unknown():
    assert trait(Part(), "num_levels") is None


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="contrastiv"):
        trait(Part(), "contrastiv")


def test_every_trait_is_declared_by_a_shipped_part():
    """Otherwise nobody needs it, or a name is misspelt."""
    federated = FederatedFocalLoss(weight=1.0)  # of recipes for LVIS, on compositions of other data
    declared = {trait_name for trait_name in TRAITS if hasattr(federated, trait_name)}
    for name in COMPOSITIONS:
        detector = instantiate(tiny_config(name))
        parts = [*detector.modules(), detector.selection, detector.criterion, detector.postprocess]
        for rule in detector.criterion.rules.values():
            parts += [rule.assigner, *rule.losses.values()]
        declared |= {trait_name for trait_name in TRAITS for part in parts if hasattr(part, trait_name)}
    assert sorted(declared) == sorted(TRAITS)
