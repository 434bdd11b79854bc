"""Overrides name what exists, and keep its kind; any argument of any part of any composition can be overridden."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from detectron2.config import instantiate
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from querydet.config import apply_overrides, get_config
from tests.config.encoders import Wide
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
        if isinstance(parent, DictConfig):  # and not replaced by one of the overrides
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


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("model.dmi=5", "model.dim"),
        ("train.eval_peroid=1", "train.eval_period"),
        ("trian.max_iter=5", "train.max_iter"),
        ("model.encoder.layres=5", "model.encoder.layers"),
        ("model.encoder.drop_out=0.1", "model.encoder.dropout"),  # an argument that the config does not mention
        ("train.amp={enabld: true}", "train.amp.enabled"),
        ("max_iter=5", "train.max_iter"),
        ("model.sizes.1.levl=5", "model.sizes.1.level"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest(cfg, override, nearest):
    before = OmegaConf.to_container(cfg)
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        apply_overrides(cfg, [override])
    assert OmegaConf.to_container(cfg) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.neck.width=1", r"'model.neck' is not set \(None\)"),
        ("model.encoder.norm.eps=1", "'model.encoder.norm' is not set"),
        ("model.dim.x=1", "'model.dim' is the value 256"),
        ("model.sizes.2=1", "has no entry '2'"),
        ("model.dim", "not of the form key=value"),
        ("--resume", "before the first key=value"),
        ("+model.new=1", "not supported"),
        ("~model.dim=256", "not supported"),
        ("model.dim=1,2", "comma"),
        ("model.dim=[1", "cannot be parsed"),
        ("model.encoder._target_=tests.config.encoders.Absent", "cannot be imported"),
        ("model@x=5", r"packages \(@\) are not supported"),
        ("train.amp.enabled=off", r"'train.amp.enabled' is a boolean \(true or false\), not a string"),
        ("train.amp={enabled: no}", r"'train.amp.enabled' is a boolean"),
        ("train.amp.enabled=1", "is a boolean .*, not a number"),
        ("model.dim=1e-4x", "'model.dim' is a number, not a string"),
        ("model.dim=true", "'model.dim' is a number, not a boolean"),
        ("model.encoder.dropout=high", "'model.encoder.dropout' is a number, not a string"),  # a default of the class
        ("train.amp.dtype=16", r"is a string, not a number; to mean a string write \"train.amp.dtype='16'\""),
        ("train=5", "'train' is a group of keys, not a number"),
        ("model.sizes=5", "'model.sizes' is a list, not a number"),
        ("model.twin.layers=5", "'model.twin' is taken from another key, change 'model.encoder.layers'"),
        ("model.twin={layers: 5}", "change 'model.encoder.layers'"),
    ],
)
def test_wrong_override_is_refused(cfg, override, message):
    with pytest.raises(ValueError, match=message):
        apply_overrides(cfg, [override])


def test_overrides_are_applied(cfg):
    apply_overrides(
        cfg,
        [
            "model.dim=128",
            "train.max_iter=20",
            "train.eval_period=500it",
            "train.amp={enabled: true}",
            "model.encoder.dropout=0.5",
            "model.sizes.1.level=7",
            f"model.encoder._target_={__name__}.Wide",
            "model.neck='a,b'",
            "model.twin=null",
            "model.encoder.norm=/home/jürgen o'neil/größe 1",
        ],
    )
    assert (cfg.model.dim, cfg.train.max_iter, cfg.train.eval_period) == (128, 20, "500it")
    assert apply_overrides(cfg, ["train.eval_period=2"]).train.eval_period == 2
    assert cfg.train.amp == {"enabled": True, "dtype": "bfloat16"}
    assert cfg.model.encoder.norm == "/home/jürgen o'neil/größe 1"
    assert cfg.model.sizes[1].level == 7
    assert cfg.model.neck == "a,b"
    encoder = instantiate(cfg.model.encoder)
    assert isinstance(encoder, Wide)
    assert (encoder.layers, encoder.dropout) == (2, 0.5)


def test_a_value_may_hold_an_equals_sign():
    cfg = OmegaConf.create({"a": "x", "b": {"c": "y"}})
    apply_overrides(cfg, ["a=out/lr=0.1,b=2", "b.c='p=q'"])
    assert (cfg.a, cfg.b.c) == ("out/lr=0.1,b=2", "p=q")


NMS = "_target_: querydet.modeling.postprocess.NMSPostprocess"


def test_a_dict_with_another_target_is_a_new_part_without_the_arguments_of_the_old_one():
    cfg = OmegaConf.create({"model": get_config("common/models/dino.py").model}, flags={"allow_objects": True})
    assigner = "querydet.modeling.assigners.KnownAssigner"
    apply_overrides(
        cfg,
        [
            f"model.postprocess={{{NMS}, num_detections: 7, iou_threshold: 0.6, max_candidates: 9, clip: true}}",
            f"model.criterion.rules={{decoder: {{assigner: {{_target_: {assigner}}}}}}}",
        ],
    )
    assert instantiate(cfg.model.postprocess).iou_threshold == 0.6
    assert cfg.model.criterion.rules.decoder.assigner == {"_target_": assigner}
    assert "denoising" in cfg.model.criterion.rules  # only what has another target is replaced
    apply_overrides(cfg, [f"model.postprocess={{{NMS}, clip: false}}"])
    assert (cfg.model.postprocess.num_detections, cfg.model.postprocess.clip) == (7, False)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"model.postprocess={{{NMS}, iou: 0.6}}", "takes no 'iou', only num_detections, iou_threshold"),
        ("model.postprocess={_target_: querydet.modeling.postprocess.Nothing}", "cannot be imported"),
        (
            "model.denoising={_target_: querydet.modeling.queries.GroupedDenoising, denoising: {_target_: a.b}}",
            "'a.b' can",
        ),
    ],
)
def test_a_new_part_is_checked_with_the_parts_in_it(override, message):
    cfg = OmegaConf.create({"model": get_config("common/models/dino.py").model}, flags={"allow_objects": True})
    before = OmegaConf.to_yaml(cfg.model.postprocess)
    with pytest.raises(ValueError, match=message):
        apply_overrides(cfg, [override])
    assert OmegaConf.to_yaml(cfg.model.postprocess) == before
