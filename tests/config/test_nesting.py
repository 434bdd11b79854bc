"""A node that moves deeper into a config means what it meant."""

import pytest
from omegaconf import OmegaConf

from querydet.config.nesting import deeper


def make_model():
    return OmegaConf.create(
        {
            "width": 8,
            "part": {
                "dim": "${..width}",
                "own": 3,
                "same": "${.own}",
                "inner": {"dim": "${...width}", "twice": "${..own}"},
                "layers": [{"dim": "${....width}"}, "${..own}"],
                "text": "no ${.own} of ${..width}",
                "absolute": "${width}",
            },
        }
    )


@pytest.mark.parametrize("levels", [1, 2])
def test_a_moved_node_resolves_to_the_same(levels):
    model = make_model()
    expected = OmegaConf.to_container(model.part, resolve=True)
    moved = deeper(model.part, levels)
    for name in ("wrapper", "outer")[:levels]:
        moved = OmegaConf.create({name: moved})
    model.part = moved
    for name in ("outer", "wrapper")[-levels:]:
        moved = moved[name]
    found = model.part
    for name in ("outer", "wrapper")[-levels:]:
        found = found[name]
    assert OmegaConf.to_container(found, resolve=True) == expected


def test_the_node_itself_stays():
    model = make_model()
    before = OmegaConf.to_container(model, resolve=False)
    deeper(model.part)
    assert OmegaConf.to_container(model, resolve=False) == before


def test_objects_stay_objects():
    part = OmegaConf.create({"call": len}, flags={"allow_objects": True})
    assert deeper(part).call is len
