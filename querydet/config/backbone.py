"""The backbone of a recipe, exchanged by one line: in a config file or, as `backbone=swin_t`, on the command line.

A config of a backbone (`configs/common/backbones/`) has

* `backbone`: the part;
* `in_channels`: its maps from stride 8 on, fine to coarse, with their channels;
* `stride4`, optional: its map of stride 4 in the same form, for recipes that read one;
* `weights`, optional: `init_checkpoint`, and the `pixel_mean`, `pixel_std` and `input_format` that the weights were
  trained with, where these are not those of ImageNet in RGB;
* `lr_factors` and `weight_decays`, optional: rules for the optimizer, in place of the recipe's rules for the backbone.

A map is known by its stride, which Detectron2 writes into its name: `res3`, `p3` and `scale3` have stride 2^3 = 8.
"""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from querydet.config.files import find_config, get_config, shipped_configs
from querydet.config.library_backbones import make_config, names_a_network
from querydet.utils.targets import short_name
from querydet.utils.texts import nearest

CHOICE = "backbone="  # begins the override that names a backbone
FOLDER = "configs/common/backbones/"
# of torchvision's and Detectron2's RGB weights, and of most others
PIXELS = {"pixel_mean": [123.675, 116.28, 103.53], "pixel_std": [58.395, 57.12, 57.375], "input_format": "RGB"}
LR_FACTOR = 0.1  # of a backbone, where neither recipe nor backbone say more: DINO, table 8


def use_backbone(
    name: str, model: DictConfig, optimizer: DictConfig | None = None, train: DictConfig | None = None
) -> None:
    """Give a recipe another backbone, in place.

    The neck, and a mask head that reads maps of the backbone, read those of the same strides; the number of levels
    stays. Where the backbone has coarser maps than the recipe read, the neck takes them for levels that it would have
    made. What the recipe set in its own backbone, such as frozen stages, is gone with it.

    Args:
        name: file name in `configs/common/backbones/` without ".py"; the path of a config of the same form; or a
            network of a library: "timm/regnety_040", "torchvision/efficientnet_b3".
        model: of the recipe.
        optimizer: of the recipe; its learning-rate rules become those of the backbone.
        train: of the recipe; `init_checkpoint` becomes that of the backbone, or empty.

    Raises:
        FileNotFoundError: there is no such backbone; the message has the nearest name.
        ValueError: the file is not of this form, or the backbone lacks a map that the recipe reads.
    """
    shipped = get_backbone(name)
    maps = {**shipped.get("stride4", {}), **shipped.in_channels}
    by_stride = {map_stride(shipped.backbone, each): each for each in maps}
    neck = _neck_maps(model, by_stride, name)
    head: Any = model.masks.head if model.get("masks") is not None else {}
    read = [by_stride[stride] for stride in neck]
    if "in_channels" in head:
        strides = [map_stride(model.backbone, each) for each in head.in_channels]
        _check_strides(strides, by_stride, name)
        head.in_channels = {by_stride[stride]: maps[by_stride[stride]] for stride in strides}
        read = [each for each in maps if each in {*read, *head.in_channels}]
    model.neck.in_channels = {by_stride[stride]: maps[by_stride[stride]] for stride in neck}
    model.backbone = _make_maps(shipped.backbone, read)
    weights = shipped.get("weights", {})
    for key, usual in PIXELS.items():
        if key in weights or key in model:
            model[key] = weights.get(key, usual)
    if optimizer is not None:
        _set_rules(optimizer, shipped)
    if train is not None:
        train.init_checkpoint = weights.get("init_checkpoint", "")


def get_backbone(name: str) -> DictConfig:
    """Load the config of a backbone.

    Args:
        name: see `use_backbone`.

    Raises:
        FileNotFoundError: there is no such backbone.
        ValueError: the file has no `backbone` and `in_channels`, or a library's network cannot serve.
    """
    if names_a_network(name):
        return make_config(name)
    if os.path.splitext(name)[1] in (".py", ".yaml", ".yml"):
        path = find_config(name)
    else:
        path = f"{FOLDER}{name}.py"
        known = [os.path.basename(each)[:-3] for each in shipped_configs() if each.startswith(FOLDER)]
        if name not in known:
            raise FileNotFoundError(
                f"there is no backbone '{name}' in {FOLDER}; did you mean '{nearest(name, known)[0]}'? There are "
                f"{', '.join(sorted(known))}; a config of your own is named by its path, such as ./mine.py, "
                "and networks of other libraries by theirs, such as timm/regnety_040"
            )
    shipped = get_config(path)
    absent = [key for key in ("backbone", "in_channels") if key not in shipped]
    if absent:
        raise ValueError(f"'{path}' is no config of a backbone: it has no {' and no '.join(absent)}")
    return shipped


def map_stride(backbone: DictConfig, name: str) -> int:
    """Return the stride of a map of a backbone.

    Args:
        backbone: node of a config.
        name: of the map; the number at its end is the logarithm of the stride. There are two exceptions: Detectron2's
            Swin Transformer counts from 0, which has stride 4, and `res5` of a dilated ResNet has the stride of `res4`.

    Raises:
        ValueError: no number is at the end of the name.
    """
    number = re.search(r"\d+$", name)
    if number is None:
        raise ValueError(f"the map '{name}' of {short_name(backbone)} does not end with the logarithm of its stride")
    power = int(number.group())
    if short_name(backbone) == "SwinTransformer":
        power += 2
    if name == "res5" and short_name(backbone.get("stages")) == "make_dilated_stages":
        power -= 1
    return 2**power


def _neck_maps(model: DictConfig, by_stride: Mapping[int, str], name: str) -> list[int]:
    """Return the strides of the maps of the new backbone that the neck reads."""
    before = [map_stride(model.backbone, each) for each in model.neck.in_channels]
    coarsest = max(by_stride)
    if len(before) == 1 and before[0] > coarsest:
        return [coarsest]
    _check_strides([stride for stride in before if stride <= coarsest], by_stride, name)
    return [stride for stride in by_stride if stride in before or stride > max(before)][: model.neck.num_levels]


def _check_strides(strides: Collection[int], by_stride: Mapping[int, str], name: str) -> None:
    absent = [stride for stride in strides if stride not in by_stride]
    if absent:
        raise ValueError(
            f"the recipe reads maps of stride {', '.join(map(str, absent))}, and backbone '{name}' has maps of stride "
            f"{', '.join(map(str, by_stride))}: take another backbone"
            + (", or name its map of stride 4 in its config: stride4={name: channels}" if 4 in absent else "")
        )


def _make_maps(backbone: DictConfig, names: list[str]) -> DictConfig:
    """Let a backbone make these maps, and no other that has parameters: they would get no gradients."""
    strides = [map_stride(backbone, name) for name in names]
    if "out_features" in backbone:
        backbone.out_features = names
    elif short_name(backbone) == "SwinTransformer":
        backbone.out_indices = [int(name[1:]) for name in names]
    elif short_name(backbone) == "SimpleFeaturePyramid":
        scales = [stride for stride in strides if stride <= 32] or [32]
        backbone.scale_factors = [16 / stride for stride in scales]
        if max(strides) <= 32:
            backbone.top_block = None
    elif "bottom_up" in backbone and min(strides) == 4:
        backbone.in_features = backbone.bottom_up.out_features = ["res2", *backbone.in_features]
    return backbone


def _set_rules(optimizer: DictConfig, shipped: DictConfig) -> None:
    for key, default in (("lr_factors", {"backbone": LR_FACTOR}), ("weight_decays", {})):
        rules = optimizer.get(key) or {}
        others = {part: value for part, value in rules.items() if not part.startswith("backbone")}
        own = dict(shipped.get(key, {}))
        if not own and len(others) < len(rules):
            own = {part: value for part, value in rules.items() if part == "backbone"} or default
        if own or others or rules:
            optimizer[key] = {**own, **others}
