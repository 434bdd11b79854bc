"""Dicts of nodes become dicts of what the nodes build."""

from collections import Counter

import pytest
from detectron2.config import LazyCall as L
from detectron2.layers import get_norm
from detectron2.modeling.backbone import ResNet
from omegaconf import OmegaConf
from torch import nn

from querydet.utils.lazy import instantiate, instantiate_values


@pytest.fixture
def everything_allowed(monkeypatch):
    monkeypatch.setenv("QUERYDET_ALLOW_TARGETS", "*")


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


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            L(get_norm)(norm="x", out_channels=4),
            r"model\.part, .*get_norm\(norm='x', out_channels=4\).*: KeyError: 'x'",
        ),
        (L(ResNet.make_default_stages)(depth=7), r"model\.part, .*make_default_stages\(depth=7\).*: KeyError: 7"),
        (L(nn.Linear)(in_features=4, out_features=-1), r"model\.part, .*Linear\(.*out_features=-1\).*: RuntimeError"),
        (L(nn.Linear)(in_features=4), r"model\.part, .*Linear\(in_features=4\).*: TypeError"),
        (L(nn.GroupNorm)(num_groups=0, num_channels=4), r"model\.part, .*GroupNorm\(.*: ZeroDivisionError"),
    ],
)
@pytest.mark.usefixtures("everything_allowed")
def test_what_others_code_cannot_build_is_named_with_its_key_and_values(part, message):
    cfg = OmegaConf.create({"model": L(Counter)(part=part)}, flags={"allow_objects": True})
    with pytest.raises(ValueError, match=message):
        instantiate(cfg.model)


@pytest.mark.usefixtures("everything_allowed")
def test_errors_that_explain_themselves_stay():
    with pytest.raises(TypeError, match="the losses have names"):
        instantiate(L(instantiate_values)(nodes=[], owner="losses"))
