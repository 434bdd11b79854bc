"""Traits have one default each, and a part may declare its own value."""

import pytest

from querydet.traits import TRAITS, trait


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
