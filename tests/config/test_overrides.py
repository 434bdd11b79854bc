"""Any argument of any part of any composition can be overridden; others are refused with the name of the part."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from querydet.config import apply_overrides, get_config
from tests.models import COMPOSITIONS


def nodes(node: Any, path: str = "model") -> Iterator[tuple[str, DictConfig]]:
    """Every node that builds something of ours, with its key."""
    if not isinstance(node, DictConfig) or node._is_none():
        return
    if "_target_" in node:
        yield path, node
    for key in node:
        yield from nodes(node._get_node(key), f"{path}.{key}")


def arguments(node: DictConfig) -> dict[str, Any]:
    target = node["_target_"]
    found = locate(target) if isinstance(target, str) else target
    parameters = inspect.signature(found).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def text_of(value: Any) -> str:
    """A value in the grammar of overrides."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(text_of, value)) + "]"
    return "null" if value is None else str(value)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_every_argument_of_every_part_can_be_overridden(name: str) -> None:
    cfg = OmegaConf.create({"model": get_config(f"common/models/{name}.py").model}, flags={"allow_objects": True})
    given = {
        f"{path}.{argument}": default
        for path, node in nodes(cfg.model)
        for argument, default in arguments(node).items()
        if default is not inspect.Parameter.empty and isinstance(default, bool | int | float | str | tuple | None)
    }
    apply_overrides(cfg, [f"{key}={text_of(default)}" for key, default in reversed(given.items())])
    for key, default in given.items():
        wanted = list(default) if isinstance(default, tuple) else default
        parent = OmegaConf.select(cfg, key.rpartition(".")[0])
        if parent is not None:  # by one of the overrides
            assert parent.get(key.rpartition(".")[2]) == wanted, key
    assert len(given) > 30


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("detr", "model.neck.ignore_padding=False", r"'model.neck' is SingleMapNeck, which takes: .*num_levels"),
        ("detr", "model.selection.objectness=True", r"'model.selection' is LearnedQueries, which takes: .*repeats"),
        (
            "dino",
            "model.criterion.rules.dn.losses.class.weight=2",
            r"there is no key 'model.criterion.rules.dn\.",
        ),
        ("dino", "model.criterion.rules.denoising.losses.0.weight=2", r"has: class, l1, giou"),
    ],
)
def test_an_argument_that_a_part_does_not_take_is_refused_with_what_it_takes(
    name: str, override: str, message: str
) -> None:
    cfg = get_config(f"common/models/{name}.py")
    with pytest.raises(ValueError, match=message):
        apply_overrides(OmegaConf.create({"model": cfg.model}, flags={"allow_objects": True}), [override])


def test_rules_and_losses_are_addressed_by_name() -> None:
    cfg = OmegaConf.create({"model": get_config("common/models/dino.py").model}, flags={"allow_objects": True})
    apply_overrides(cfg, ["model.criterion.rules.denoising.losses.class.weight=2", "model.heads.share_layers=False"])
    rules = cfg.model.criterion.rules
    assert [rules[name].losses["class"].weight for name in ("decoder", "encoder", "denoising")] == [1.0, 1.0, 2]


def test_what_dino_takes_for_its_heads_detr_takes_too() -> None:
    cfg = OmegaConf.create({"model": get_config("common/models/detr.py").model}, flags={"allow_objects": True})
    apply_overrides(cfg, ["model.heads.separate_one_to_many=[class]"])
    assert list(cfg.model.heads.separate_one_to_many) == ["class"]
