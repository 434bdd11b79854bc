"""Dicts of nodes become dicts of what the nodes build."""

from collections import Counter

import pytest
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from querydet.utils.lazy import instantiate_values


def test_nodes_are_built_and_built_values_stay():
    built = Counter(a=1)
    found = instantiate_values({"node": L(Counter)(a=2), "built": built}, "losses")
    assert found == {"node": Counter(a=2), "built": built}
    assert found["built"] is built


def test_an_entry_can_be_removed():
    nodes = OmegaConf.create({"one": L(Counter)(a=1), "two": None}, flags={"allow_objects": True})
    assert instantiate_values(nodes, "losses") == {"one": Counter(a=1)}
    assert instantiate_values({}, "losses") == {}


def test_a_list_is_refused():
    with pytest.raises(TypeError, match="the losses have names: give a dict, found list"):
        instantiate_values([L(Counter)(a=1)], "losses")  # type: ignore[arg-type]
