"""Complete configs from files and changes of the command line."""

import pytest

from querydet.config import TOP_LEVEL, apply_overrides, get_config, load_config

DINO = "dino/configs/dino_r50_4scale_12ep.py"


def test_a_backbone_is_exchanged_before_its_keys_are_changed() -> None:
    cfg = load_config(DINO, ["model.backbone.drop_path_rate=0.3", "backbone=swin", "train.seed=1"])
    assert (cfg.model.backbone.drop_path_rate, cfg.train.seed) == (0.3, 1)
    assert dict(cfg.model.neck.in_channels) == {"p1": 384, "p2": 768, "p3": 1536}
    assert set(cfg) == set(TOP_LEVEL)


def test_a_composition_without_optimizer_takes_a_backbone_too() -> None:
    cfg = apply_overrides(get_config("common/models/dino.py"), ["backbone=vit"])
    assert list(cfg.model.neck.in_channels) == ["p3", "p4", "p5", "p6"]


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="no backbone 'swinn'"):
        load_config(DINO, ["backbone=swinn"])


def test_the_config_of_a_backbone_has_a_key_of_this_name() -> None:
    cfg = apply_overrides(get_config("common/backbones/swin.py"), ["backbone.window_size=7"])
    assert cfg.backbone.window_size == 7
    with pytest.raises(ValueError, match="'backbone' is a group of keys"):
        apply_overrides(cfg, ["backbone=swin"])


def test_a_config_is_complete() -> None:
    with pytest.raises(ValueError, match="has no dataloader"):
        load_config("common/models/dino.py")
