"""A composition in miniature has the parts of the real one, and few weights."""

import pytest
from omegaconf import DictConfig

from querydet.analysis.flops import build_on_meta
from querydet.config import get_config
from querydet.config.miniature import NUM_QUERIES, shrink


def targets(node, path=""):
    """What every node of a config calls, by its place."""
    found = {}
    if isinstance(node, DictConfig):
        found |= {path: node._target_} if "_target_" in node else {}
        for name in node:
            found |= targets(node[name], f"{path}.{name}")
    return found


@pytest.mark.parametrize("name", ["dino", "deformable_detr_one_stage", "h_detr", "group_dn_dab_detr"])
def test_parts_stay_and_sizes_shrink(name):
    real = get_config(f"common/models/{name}.py").model
    expected = {place: target for place, target in targets(real).items() if not place.startswith(".backbone")}
    model = get_config(f"common/models/{name}.py").model
    assert shrink(model) is model
    assert {place: target for place, target in targets(model).items() if not place.startswith(".backbone")} == expected
    small = build_on_meta(model)
    assert small.selection.num_queries == NUM_QUERIES
    assert len(small.decoder.layers) == 3
    assert sum(parameter.numel() for parameter in small.parameters()) < 4e6
    assert set(small.backbone.output_shape()) == set(model.neck.in_channels)
    assert {key: shape.channels for key, shape in small.backbone.output_shape().items()} == model.neck.in_channels
