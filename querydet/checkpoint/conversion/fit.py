"""Choice of the config that fits converted weights, and the source of every choice: keys, options, or released code.

Three settings change the outputs of a model without changing a shape: offset and temperature of the position embedding
and the constant of the inverse sigmoid. They depend on the code base and are chosen here accordingly.
"""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from querydet.checkpoint.conversion.backbones import PREFIX, find_backbone
from querydet.checkpoint.conversion.convert import Conversion
from querydet.checkpoint.conversion.families import DETREX_DENSE
from querydet.checkpoint.conversion.fitted import CODE, OPTIONS, Fit, plain
from querydet.checkpoint.conversion.mask_fit import count_maps, mask_changes
from querydet.checkpoint.conversion.methods import (
    NUM_HEADS,
    RECIPES,
    class_head_of,
    dab_widths,
    find_method,
    has_attention_maps,
    has_no_object,
    is_dense,
    is_levelwise,
    is_mask2former,
    order_levels,
    split_table,
)
from querydet.checkpoint.conversion.names import DETREX
from querydet.checkpoint.conversion.parts import check_given_attentions, chosen_parts
from querydet.checkpoint.settings import SETTINGS
from querydet.config import get_config


def fit_config(conversion: Conversion, options: Mapping[str, Any], given: DictConfig | None = None) -> Fit:
    """Choose the config of converted weights, or check the settings of a given one that no shape determines.

    Args:
        conversion: the converted weights; tables of several groups of queries are split here, and levels that come
            from coarse to fine reversed.
        options: from `options.read_options`, updated by those of the user.
        given: the config to check; None: choose one.

    Raises:
        ValueError: weights that the choice depends on are missing, the options ask for unsupported features, or the
            given config has other constants.
    """
    if given is not None:
        heads = OmegaConf.select(given, "model.encoder.layer.num_heads")
        options = {"num_queries": OmegaConf.select(given, _num_queries_key(given)), "num_heads": heads, **options}
    order_levels(conversion, options.get("num_heads"))
    extra = split_table(conversion, options)
    state = conversion.state
    method = find_method(state, options, extra)
    if given is not None:
        check_given_attentions(given)
        fit = Fit("the given one", given, backbone=any(name.startswith(PREFIX) for name in state))
        _check_given(_constants(conversion, method, options, fit), given)
        return fit
    backbone = find_backbone(state, count_maps(conversion))
    recipe = _recipe(conversion, method, options, swin=backbone is not None and "window_size" in backbone)
    fit = Fit(recipe, get_config(recipe), backbone=backbone is not None)
    changes = {**_widths(conversion, options), **_queries(conversion, options, extra, fit.cfg)}
    changes |= _backbone_changes(conversion, backbone, fit.cfg)
    changes |= {**_constants(conversion, method, options, fit), **chosen_parts(state, method, options, fit.cfg)}
    for key, option in (("model.decoder.layer.num_heads", "num_heads"), (_num_queries_key(fit.cfg), "num_queries")):
        if option == "num_heads" or changes.get(key) is None or option in options:
            fit.sources[key] = OPTIONS if option in options else CODE
    for key, value in changes.items():
        if plain(OmegaConf.select(fit.cfg, key)) != plain(value):
            OmegaConf.update(fit.cfg, key, value, merge=False)
            fit.changes[key] = value
    return fit


def _recipe(conversion: Conversion, method: str, options: Mapping[str, Any], swin: bool) -> str:
    """Choose the shipped config of a method that has the backbone and the levels of the weights."""
    if has_attention_maps(conversion.state) and f"{method}_masks" in RECIPES:
        method = f"{method}_masks"
    dilated = f"{method}_dc5"
    if options.get("dilation"):
        several = not is_dense(conversion.state) and conversion.size_of("neck.level_embed", 0) > 1
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


def _widths(conversion: Conversion, options: Mapping[str, Any]) -> dict[str, Any]:
    state = conversion.state
    heads = int(options.get("num_heads", NUM_HEADS))
    if options.get("encoder_heads", heads) != heads:
        raise ValueError("encoder and decoder have different numbers of heads, which was not expected")
    classes = conversion.size_of(class_head_of(state), 0) - has_no_object(state)
    changes: dict[str, Any] = {
        "model.num_classes": classes,
    }
    if not is_mask2former(state):
        several = any(re.match(r"heads\.(class|box)_heads\.1\.", name) for name in state)
        changes["model.heads.share_layers"] = not several
    for part in ("encoder", "decoder"):
        layers = {int(match[1]) for name in state if (match := re.match(rf"{part}\.layers\.(\d+)\.", name))}
        changes |= {
            f"model.{part}.num_layers": len(layers),
            f"model.{part}.layer.num_heads": heads,
            f"model.{part}.layer.ffn_dim": conversion.size_of(f"{part}.layers.0.ffn.linear1.weight", 0),
        }
    labels = state.get("denoising.label_embed.weight")
    if labels is not None:
        changes["model.denoising.num_embeddings"] = None if len(labels) == classes + 1 else len(labels)
    if is_dense(state):
        changes["model.neck.embed_dim"] = conversion.size_of("neck.projection.weight", 0)
    else:
        changes |= _levels(conversion, heads)
    return changes | (dab_widths(state) if is_dense(state) or is_levelwise(state) else {})


def _levels(conversion: Conversion, heads: int) -> dict[str, Any]:
    """Infer the changes that only models with several levels need."""
    levels = conversion.size_of("neck.level_embed", 0)
    changes = {"model.neck.num_levels": levels, "model.neck.embed_dim": conversion.size_of("neck.level_embed", 1)}
    standard = is_levelwise(conversion.state) or is_mask2former(conversion.state)
    attentions = {"encoder": "attention"} | ({} if standard else {"decoder": "cross_attention"})
    for part, attention in attentions.items():
        rows = conversion.size_of(f"{part}.layers.0.{attention}.attention_weights.weight", 0)
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
        {"model.selection.extra_queries": extra}
        if not is_dense(state) and not is_mask2former(state)
        else {"model.selection.num_groups": extra + 1}
    )


def _backbone_changes(conversion: Conversion, backbone: dict[str, Any] | None, cfg: DictConfig) -> dict[str, Any]:
    """Infer the changes of the backbone, and of the maps that the neck and the mask head read."""
    if is_dense(conversion.state):
        widths = [conversion.size_of("neck.projection.weight", 1)]
    else:
        levels = range(max(1, conversion.sizes.num_maps))
        widths = [conversion.size_of(f"neck.projections.{level}.conv.weight", 1) for level in levels]
    if backbone is None:
        changes, names = {}, [f"map{level}" for level in range(count_maps(conversion))]
    else:
        changes = {f"model.backbone.{key}": value for key, value in backbone.items() if key != "names"}
        names = backbone["names"]
    changes["model.neck.in_channels"] = dict(zip(names[-len(widths) :], widths, strict=True))
    return changes | mask_changes(conversion, cfg, names)


def _constants(conversion: Conversion, method: str, options: Mapping[str, Any], fit: Fit) -> dict[str, Any]:
    """Choose the settings that change the outputs and no shape."""
    embedding = "model.neck.position_embedding"
    constants: dict[str, Any] = {f"{embedding}.temperature": 10000.0, f"{embedding}.offset": -0.5}
    masked = is_mask2former(conversion.state)
    if not masked:
        constants["model.heads.inverse_sigmoid_eps"] = 1e-5
    fit.sources = dict.fromkeys(constants, CODE)
    if is_dense(conversion.state) or masked or method == "dn_deformable_encoder":
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
    if masked:  # the decoder embeds positions as the neck does
        constants |= {key.replace("neck", "decoder"): value for key, value in constants.items()}
        fit.sources |= {key.replace("neck", "decoder"): why for key, why in fit.sources.items()}
    if "num_detections" in options:
        constants["model.postprocess.num_detections"] = options["num_detections"]
    if "look_forward_twice" in options and method not in boxes:
        constants["model.decoder.look_forward_twice"] = bool(options["look_forward_twice"])
    return constants
