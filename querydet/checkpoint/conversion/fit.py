"""Choice of the config that fits converted weights, and the source of every choice: keys, options, or released code.

Three settings change the outputs of a model without changing a shape: offset and temperature of the position embedding
and the constant of the inverse sigmoid. They depend on the code base and are chosen here accordingly.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from querydet.checkpoint.conversion.backbones import PREFIX, find_backbone
from querydet.checkpoint.conversion.convert import Conversion
from querydet.checkpoint.conversion.families import DETREX_DENSE
from querydet.checkpoint.conversion.methods import (
    RECIPES,
    dab_widths,
    find_method,
    is_dense,
    is_detr,
    is_levelwise,
    split_table,
)
from querydet.checkpoint.conversion.names import DETREX
from querydet.checkpoint.conversion.parts import check_given_attentions, chosen_parts
from querydet.checkpoint.settings import SETTINGS
from querydet.config import get_config

OPTIONS, CODE = "the options given or in the file", "the released code"
NUM_HEADS = 8  # in all released configurations


@dataclass
class Fit:
    """A config that fits converted weights.

    Args:
        recipe: name of the shipped config that it is based on.
        cfg: the complete config with changes applied.
        changes: new values of changed keys.
        sources: where settings that no shape determines come from, by key.
        backbone: whether the weights include a backbone.
    """

    recipe: str
    cfg: DictConfig
    changes: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    backbone: bool = True

    def statement(self) -> list[str]:
        """List the settings that no shape determines, with their sources."""
        return [f"{key}={OmegaConf.select(self.cfg, key)}, known from {why}" for key, why in self.sources.items()]

    def guesses(self) -> str:
        """Say what was guessed of a file that has no options."""
        parts = ("selection", "decoder.layer.order", "postprocess")
        known = [f"{key}={OmegaConf.select(self.cfg, key)}" for key, why in self.sources.items() if why == CODE]
        for part in parts:
            value = OmegaConf.select(self.cfg, f"model.{part}")
            if value is not None:
                named = value["_target_"] if OmegaConf.is_dict(value) else list(value)
                known.append(f"model.{part}={_text(named)}")
        return f"the file holds no options, and these were guessed, as released: {', '.join(known)}"

    def overrides(self) -> list[str]:
        """Format the changes as overrides of a command line."""
        printed = []
        for key, value in self.changes.items():
            if OmegaConf.is_config(value):  # another part: none of the arguments of the old one stay
                printed.append(f"{key}=null")
            printed.append(f"{key}={_text(value)}")
        return printed


def fit_config(conversion: Conversion, options: Mapping[str, Any], given: DictConfig | None = None) -> Fit:
    """Choose the config of converted weights, or check the settings of a given one that no shape determines.

    Args:
        conversion: the converted weights; the query table of H-DETR's two groups is split here.
        options: from `options.read_options`, updated by those of the user.
        given: the config to check; None: choose one.

    Raises:
        ValueError: weights that the choice depends on are missing, the options ask for unsupported features, or the
            given config has other constants.
    """
    state = conversion.state
    if given is not None:
        options = {"num_queries": OmegaConf.select(given, _num_queries_key(given)), **options}
    extra = split_table(conversion, options)
    method = find_method(state, options, extra)
    if given is not None:
        check_given_attentions(given)
        fit = Fit("the given one", given, backbone=any(name.startswith(PREFIX) for name in state))
        _check_given(_constants(conversion, method, options, fit), given)
        return fit
    backbone = find_backbone(state, conversion.sizes.num_maps or 1)
    recipe = _recipe(conversion, method, options, swin=backbone is not None and "window_size" in backbone)
    fit = Fit(recipe, get_config(recipe), backbone=backbone is not None)
    changes = {**_widths(conversion, options), **_queries(conversion, options, extra, fit.cfg)}
    changes |= _backbone_changes(conversion, backbone)
    changes |= {**_constants(conversion, method, options, fit), **chosen_parts(state, method, options, fit.cfg)}
    for key, option in (("model.decoder.layer.num_heads", "num_heads"), (_num_queries_key(fit.cfg), "num_queries")):
        if option == "num_heads" or changes.get(key) is None or option in options:
            fit.sources[key] = OPTIONS if option in options else CODE
    for key, value in changes.items():
        if _plain(OmegaConf.select(fit.cfg, key)) != _plain(value):
            OmegaConf.update(fit.cfg, key, value, merge=False)
            fit.changes[key] = value
    return fit


def _recipe(conversion: Conversion, method: str, options: Mapping[str, Any], swin: bool) -> str:
    """Choose the shipped config of a method that has the backbone and the levels of the weights."""
    dilated = f"{method}_dc5"
    if options.get("dilation"):
        several = not is_dense(conversion.state) and size_of(conversion, "neck.level_embed", 0) > 1
        if dilated not in RECIPES or several:
            raise ValueError(
                f"the file was trained with dilation=True, which no part here does for {method} with these levels"
            )
        return RECIPES[dilated]
    if "dilation" not in options and dilated in RECIPES:
        conversion.notes.append(
            "whether the last stage of the backbone is dilated (DC5) shows in no weight, and the file does not say: it "
            f"was taken not to be. If it is, add --config-file {RECIPES[dilated]}"
        )
    variant = f"{method}_swin" if swin else f"{method}_{conversion.sizes.num_maps + 1}scale"
    return RECIPES.get(variant, RECIPES[method])


def _check_given(constants: Mapping[str, Any], given: DictConfig) -> None:
    actual = {key: OmegaConf.select(given, key) for key in constants if key in SETTINGS.values()}
    wrong = [
        f"{key} is {value}, set it to {constants[key]}" for key, value in actual.items() if value != constants[key]
    ]
    if wrong:
        raise ValueError(f"the given config would load these weights and misread them: {'; '.join(wrong)}")


def size_of(conversion: Conversion, name: str, dim: int) -> int:
    """Return one dimension of a weight that the config depends on.

    Args:
        conversion: the converted weights.
        name: our name of the weight.
        dim: index of the dimension.

    Raises:
        ValueError: the weight does not exist, or has fewer dimensions; the message has its published name.
    """
    theirs = conversion.family.their_name(name, conversion.sizes) or name
    if name not in conversion.state:
        raise ValueError(f"the {conversion.family.name} layout needs {theirs}, which the file does not have")
    shape = tuple(conversion.state[name].shape)
    if len(shape) <= dim:
        raise ValueError(f"{theirs} has the shape {shape}, which it cannot have")
    return shape[dim]


def _widths(conversion: Conversion, options: Mapping[str, Any]) -> dict[str, Any]:
    state = conversion.state
    heads = int(options.get("num_heads", NUM_HEADS))
    if options.get("encoder_heads", heads) != heads:
        raise ValueError("encoder and decoder have different numbers of heads, which was not expected")
    classes = size_of(conversion, "heads.class_heads.0.weight", 0) - is_detr(state)
    changes: dict[str, Any] = {
        "model.num_classes": classes,
        "model.heads.share_layers": not any(re.match(r"heads\.(class|box)_heads\.1\.", name) for name in state),
    }
    for part in ("encoder", "decoder"):
        layers = {int(match[1]) for name in state if (match := re.match(rf"{part}\.layers\.(\d+)\.", name))}
        changes |= {
            f"model.{part}.num_layers": len(layers),
            f"model.{part}.layer.num_heads": heads,
            f"model.{part}.layer.ffn_dim": size_of(conversion, f"{part}.layers.0.ffn.linear1.weight", 0),
        }
    labels = state.get("denoising.label_embed.weight")
    if labels is not None:
        changes["model.denoising.num_embeddings"] = None if len(labels) == classes + 1 else len(labels)
    if is_dense(state):
        changes["model.neck.embed_dim"] = size_of(conversion, "neck.projection.weight", 0)
    else:
        changes |= _levels(conversion, heads)
    return changes | (dab_widths(state) if is_dense(state) or is_levelwise(state) else {})


def _levels(conversion: Conversion, heads: int) -> dict[str, Any]:
    """Infer the changes that only models with several levels need."""
    levels = size_of(conversion, "neck.level_embed", 0)
    changes = {"model.neck.num_levels": levels, "model.neck.embed_dim": size_of(conversion, "neck.level_embed", 1)}
    attentions = {"encoder": "attention"} | ({} if is_levelwise(conversion.state) else {"decoder": "cross_attention"})
    for part, attention in attentions.items():
        rows = size_of(conversion, f"{part}.layers.0.{attention}.attention_weights.weight", 0)
        points, rest = divmod(rows, levels * heads)
        if rest or not points:
            raise ValueError(f"{rows} attention weights cannot be those of {heads} heads and {levels} levels")
        changes[f"model.{part}.layer.num_points"] = points
    return changes


def _num_queries_key(cfg: DictConfig) -> str:
    """Return the key of the number of queries of the primary group, whose selection further groups wrap."""
    wrapped = OmegaConf.select(cfg, "model.selection.selection") is not None
    return f"model.selection.{'selection.' * wrapped}num_queries"


def _queries(conversion: Conversion, options: Mapping[str, Any], extra: int, cfg: DictConfig) -> dict[str, Any]:
    state = conversion.state
    # where there are boxes, the content may have a single row
    tables = ("selection.anchors.weight", "selection.content.weight", "selection.embedding.weight")
    rows = next((len(state[name]) for name in tables if name in state), None)
    asked = options.get("num_queries")
    if rows is not None and asked is not None and rows != asked:
        raise ValueError(f"the table of queries has {rows} rows, but {asked} queries are asked for")
    changes = {_num_queries_key(cfg): rows or asked} if rows or asked else {}
    if not extra:
        return changes
    return changes | (
        {"model.selection.num_groups": extra + 1} if is_dense(state) else {"model.selection.extra_queries": extra}
    )


def _backbone_changes(conversion: Conversion, backbone: dict[str, Any] | None) -> dict[str, Any]:
    if is_dense(conversion.state):
        widths = [size_of(conversion, "neck.projection.weight", 1)]
    else:
        levels = range(max(1, conversion.sizes.num_maps))
        widths = [size_of(conversion, f"neck.projections.{level}.conv.weight", 1) for level in levels]
    if backbone is None:
        return {"model.neck.in_channels": {f"map{level}": width for level, width in enumerate(widths)}}
    backbone = dict(backbone)
    names = backbone.pop("names")
    changes = {f"model.backbone.{key}": value for key, value in backbone.items()}
    return changes | {"model.neck.in_channels": dict(zip(names, widths, strict=True))}


def _constants(conversion: Conversion, method: str, options: Mapping[str, Any], fit: Fit) -> dict[str, Any]:
    """Choose the settings that change the outputs and no shape."""
    embedding = "model.neck.position_embedding"
    constants: dict[str, Any] = {
        f"{embedding}.temperature": 10000.0,
        f"{embedding}.offset": -0.5,
        "model.heads.inverse_sigmoid_eps": 1e-5,
    }
    fit.sources = dict.fromkeys(constants, CODE)
    if is_dense(conversion.state) or method == "dn_deformable_encoder":
        constants[f"{embedding}.offset"] = 0.0
    boxes = ("dino", "dn_detr", "dab_deformable_detr", "dab_detr", "dn_dab_detr", "dn_deformable_encoder")
    if conversion.family in (DETREX, DETREX_DENSE) or method in boxes:
        constants["model.heads.inverse_sigmoid_eps"] = 1e-3
    if method in ("dab_detr", "dn_dab_detr", "dn_deformable_encoder"):
        constants[f"{embedding}.temperature"] = 20.0
    if method == "dino" and conversion.family is not DETREX:
        constants |= {f"{embedding}.temperature": 20.0, f"{embedding}.offset": 0.0}
    elif method == "dino" and "temperature" not in options:
        conversion.notes.append(
            "of detrex's DINO the 24-epoch R50 config has temperature 20 and offset 0, all others 10000 and -0.5; the "
            "weights do not tell, and the latter were taken. For the former add --temperature 20 --offset 0"
        )
    for name in ("temperature", "offset"):
        if name in options:
            constants[f"{embedding}.{name}"] = float(options[name])
            fit.sources[f"{embedding}.{name}"] = OPTIONS
    if options.get("temperature_w", options.get("temperature")) != options.get("temperature"):
        constants[f"{embedding}.temperature_x"] = float(options["temperature_w"])
        fit.sources[f"{embedding}.temperature_x"] = OPTIONS
    if "num_detections" in options:
        constants["model.postprocess.num_detections"] = options["num_detections"]
    if "look_forward_twice" in options and method not in boxes:
        constants["model.decoder.look_forward_twice"] = bool(options["look_forward_twice"])
    return constants


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if OmegaConf.is_config(value):
        return _text(_plain(value))
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
