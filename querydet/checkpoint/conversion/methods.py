"""Recognition of the method of converted weights, and the split of query tables that several groups share."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from querydet.checkpoint.conversion.convert import Conversion
from querydet.checkpoint.conversion.level_order import reverse_levels
from querydet.checkpoint.conversion.names import DETREX

HYBRID_EXTRA = 1500  # queries of H-DETR's extra group in all released configurations
GROUP_SIZE = 300  # queries of a group of Group DETR in all released configurations
NUM_HEADS = 8  # in all released configurations
RECIPES = {
    "detr": "projects/detr/configs/detr_r50_50ep.py",
    "detr_dc5": "projects/detr/configs/detr_r50_dc5_50ep.py",
    "dab_detr": "projects/dab_detr/configs/dab_detr_r50_50ep.py",
    "dab_detr_dc5": "projects/dab_detr/configs/dab_detr_r50_dc5_50ep.py",
    "dn_dab_detr": "projects/dn_detr/configs/dn_dab_detr_r50_50ep.py",
    "dn_dab_detr_dc5": "projects/dn_detr/configs/dn_dab_detr_r50_dc5_50ep.py",
    "conditional_detr": "projects/group_detr/configs/conditional_detr_r50_50ep.py",
    "conditional_detr_dc5": "projects/group_detr/configs/conditional_detr_r50_dc5_50ep.py",
    "group_conditional_detr_dc5": "projects/group_detr/configs/group_conditional_detr_r50_dc5_50ep.py",
    "group_conditional_detr": "projects/group_detr/configs/group_conditional_detr_r50_50ep.py",
    "deformable_detr_plain_dc5": "projects/deformable_detr/configs/deformable_detr_r50_single_scale_dc5_50ep.py",
    "deformable_detr_plain": "projects/deformable_detr/configs/deformable_detr_r50_50ep.py",
    "deformable_detr_refine": "projects/deformable_detr/configs/deformable_detr_r50_refine_50ep.py",
    "deformable_detr": "projects/deformable_detr/configs/deformable_detr_r50_two_stage_50ep.py",
    "deformable_detr_pp": "projects/deformable_detr/configs/deformable_detr_pp_r50_12ep.py",
    "dino": "projects/dino/configs/dino_r50_4scale_12ep.py",
    "dino_5scale": "projects/dino/configs/dino_r50_5scale_12ep.py",
    "dino_swin": "projects/dino/configs/dino_swin_l_4scale_12ep.py",
    "dn_detr": "projects/dn_detr/configs/dn_detr_r50_50ep.py",
    "dn_deformable_encoder": "projects/dn_detr/configs/dn_deformable_encoder_r50_50ep.py",
    "dab_deformable_detr": "projects/dn_detr/configs/dab_deformable_detr_r50_50ep.py",
    "deta": "projects/deta/configs/deta_r50_12ep.py",
    "deta_swin": "projects/deta/configs/deta_swin_l_24ep.py",
    "deta_baseline": "projects/deta/configs/deta_baseline_r50_50ep.py",
    "deta_first_stage": "projects/deta/configs/deta_r50_first_stage_12ep.py",
    "deta_second_stage": "projects/deta/configs/deta_r50_second_stage_12ep.py",
    "dac_detr": "projects/dac_detr/configs/dac_detr_cdn_ice_r50_12ep.py",
    "dac_detr_swin": "projects/dac_detr/configs/dac_detr_cdn_ice_swin_l_12ep.py",
    "h_detr": "projects/h_detr/configs/h_detr_r50_12ep.py",
    "h_detr_swin": "projects/h_detr/configs/h_detr_swin_l_12ep.py",
    "ms_detr": "projects/ms_detr/configs/ms_detr_r50_12ep.py",
    "ms_detr_no_aux_ffn": "projects/ms_detr/configs/ms_detr_r50_no_aux_ffn_12ep.py",
    "ms_detr_a": "projects/ms_detr/configs/ms_detr_r50_placement_a_12ep.py",
    "ms_detr_pp": "projects/ms_detr/configs/ms_detr_pp_r50_12ep.py",
    "deformable_detr_masks": "projects/deformable_detr/configs/mask_deformable_detr_r50_50ep.py",
    "ms_detr_masks": "projects/ms_detr/configs/ms_mask_deformable_detr_r50_50ep.py",
    "mask2former": "projects/mask2former/configs/mask2former_r50_50ep.py",
    "group_mask2former": "projects/group_detr/configs/group_mask2former_r50_50ep.py",
}


CONTENT, POSITION, EMBEDDING = (f"selection.{name}.weight" for name in ("content", "position", "embedding"))
DETA_STAGES = {  # which of both stages assigns by overlap, and then suppresses
    (True, True): "deta",
    (True, False): "deta_first_stage",
    (False, True): "deta_second_stage",
    (False, False): "deta_baseline",
}


def is_dense(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights under our names belong to a model with standard attention over one map."""
    return any(name.startswith("neck.projection.") for name in state)


def is_levelwise(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights under our names belong to a decoder with standard attention to several levels."""
    return "decoder.layers.0.level_gate.weight" in state


def is_mask2former(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights under our names belong to a decoder that attends within masks."""
    return any(name.startswith(("decoder.level_embed.", "heads.class_head.", "selection.position.")) for name in state)


def has_attention_maps(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights under our names have DETR's mask head."""
    return any(name.startswith("masks.head.attention.") for name in state)


def has_no_object(state: Mapping[str, Tensor]) -> bool:
    """Return whether class heads have an additional output for no object: those of DETR and of Mask2Former."""
    return "decoder.layers.0.cross_attention.in_proj_weight" in state


def class_head_of(state: Mapping[str, Tensor]) -> str:
    """Return our name of the weight that has a row for each class."""
    return "heads.class_head.weight" if is_mask2former(state) else "heads.class_heads.0.weight"


def find_method(state: Mapping[str, Tensor], options: Mapping[str, Any], extra_queries: int = 0) -> str:
    """Return the method of weights under our names, a key of `RECIPES`.

    Args:
        state: weights under our names.
        options: options of the file, from `options.read_options`.
        extra_queries: number of queries of H-DETR's extra group.
    """
    if is_mask2former(state):
        grouped = any(name.startswith("selection.extra_contents.") for name in state)
        return "group_mask2former" if grouped else "mask2former"
    if is_dense(state):
        if has_no_object(state):
            return "detr"
        if "selection.anchors.weight" in state:
            return "dn_dab_detr" if "denoising.label_embed.weight" in state else "dab_detr"
        grouped = any(name.startswith("selection.extra_groups.") for name in state)
        return "group_conditional_detr" if grouped else "conditional_detr"
    if is_levelwise(state):
        return "dn_deformable_encoder"
    has = {
        part: any(name.startswith(part) for name in state)
        for part in (
            "selection.anchors",
            "denoising.",
            "decoder.query_position.",
            "heads.one_to_many_heads.",
            "heads.box_heads.1.",
        )
    }
    if has["selection.anchors"]:
        return "dn_detr" if has["denoising."] else "dab_deformable_detr"
    if not any(name.startswith("selection.proposals.") for name in state):
        refine = options.get("refine_boxes", has["heads.box_heads.1."])
        return "deformable_detr_refine" if refine else "deformable_detr_plain"
    if has["decoder.query_position."]:
        return "dino"
    if "selection.content.linear.weight" in state:
        stages = (bool(options.get("assign_first_stage", True)), bool(options.get("assign_second_stage", True)))
        return DETA_STAGES[stages]
    mixed = CONTENT in state
    if "decoder.layers.0.read_out.ffn.linear1.weight" in state:
        return "ms_detr_pp" if mixed else "ms_detr"
    if has["heads.one_to_many_heads."]:
        return "ms_detr_a"
    if options.get("ms_detr"):
        return "ms_detr_pp" if mixed else "ms_detr_no_aux_ffn"
    if extra_queries:
        return "h_detr"
    if mixed and has["denoising."]:
        return "dac_detr"
    return "deformable_detr_pp" if mixed else "deformable_detr"


def dab_widths(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the changes of a config that only DAB-DETR's decoder with standard attention needs.

    Args:
        state: weights under our names, their label table split.
    """
    if "selection.anchors.weight" not in state:
        return {}
    slopes = "encoder.layers.0.ffn.activation.weight" in state
    changes: dict[str, Any] = {
        f"model.{part}.layer.activation": "prelu" if slopes else "relu" for part in ("encoder", "decoder")
    }
    shared = "selection.patterns.weight" in state or is_levelwise(state)
    patterns = state.get(f"selection.{'patterns' if shared else 'content'}.weight")
    changes["model.selection.num_patterns"] = 0 if patterns is None else len(patterns)
    return changes | ({"model.selection.shared_content": True} if shared else {})


def split_table(conversion: Conversion, options: Mapping[str, Any]) -> int:
    """Split the query table of several groups; return the number of extra queries (H-DETR) or groups (others).

    Raises:
        ValueError: the boundary of the groups is unknown.
    """
    state = conversion.state
    if is_mask2former(state):
        table = state.get(CONTENT)
        size = options.get("num_queries") or (len(table) if table is not None and table.dim() else 1)
        return _split_groups(conversion, {CONTENT: "extra_contents", POSITION: "extra_positions"}, size)
    if is_levelwise(state):
        _split_labels(conversion)
        return 0
    if is_dense(state):
        _split_labels(conversion)
        size = options.get("num_queries") or GROUP_SIZE
        return 0 if has_no_object(state) else _split_groups(conversion, {EMBEDDING: "extra_groups"}, size)
    return split_hybrid(conversion, options)


def order_levels(conversion: Conversion, num_heads: int | None) -> None:
    """Reverse the levels of code bases that have them from coarse to fine.

    Args:
        conversion: the converted weights.
        num_heads: of the encoder's attention; None: as released.

    Raises:
        ValueError: an attention cannot have so many heads.
    """
    levels = conversion.state.get("neck.level_embed")
    if conversion.family.coarse_first and levels is not None and levels.dim():
        conversion.state = reverse_levels(conversion.state, len(levels), num_heads or NUM_HEADS)


def _split_labels(conversion: Conversion) -> None:
    """Move the last row of the label table to the content of the matching queries, which the released code uses it for.

    Patterns, which DAB-DETR has as contents, are then added to it.
    """
    name, content, patterns = "denoising.label_embed.weight", CONTENT, "selection.patterns.weight"
    labels = conversion.state.get(name)
    if labels is None:
        return
    if content in conversion.state:
        conversion.state[patterns] = conversion.state[content]
        conversion.mapped = {key: patterns if ours == content else ours for key, ours in conversion.mapped.items()}
    conversion.state[name], conversion.state[content] = labels[:-1], labels[-1:]
    conversion.notes.append("the last row of label_enc is the content of the matching queries")


def _split_groups(conversion: Conversion, tables: Mapping[str, str], size: int) -> int:
    """Split tables of queries into groups of a size; the values of `tables` name those of further groups."""
    further = 0
    for name, extra in tables.items():
        table = conversion.state.get(name)
        if table is None or not table.dim():
            continue
        groups, rest = divmod(len(table), size)
        if rest or groups < 1:
            raise ValueError(
                f"the table of queries has {len(table)} rows, which are no groups of {size}: say with --num-queries "
                "how many are of the primary group"
            )
        first, *others = table.split(size)
        conversion.state[name] = first
        conversion.state.update({f"selection.{extra}.{n}.weight": rows for n, rows in enumerate(others)})
        if others and not further:
            conversion.notes.append(f"the table of {len(table)} queries holds {groups} groups of {size}")
        further = max(further, len(others))
    return further


def split_hybrid(conversion: Conversion, options: Mapping[str, Any]) -> int:
    """Split the query table of H-DETR's groups, primary group first; return the size of the extra group."""
    table = conversion.state.get(CONTENT)
    primary = options.get("num_queries")
    if table is None or not any(name.startswith("selection.box_embedding.") for name in conversion.state):
        return 0  # in DINO and in one-stage models the table has one group
    # detrex has no other project with such a table, and no published model has that many queries in one group
    only_hybrid = conversion.family is DETREX or len(table) > HYBRID_EXTRA
    if not (only_hybrid or options.get("extra_queries") or (primary and len(table) > primary)):
        return 0
    if primary is None:
        primary = len(table) - HYBRID_EXTRA
        conversion.notes.append(f"{HYBRID_EXTRA} of {len(table)} queries are those of the extra group, as released")
    if not 0 < primary <= len(table):
        raise ValueError(
            f"the table of queries has {len(table)} rows, and it is not known how many are of the primary group: say "
            "it with --num-queries"
        )
    conversion.state[CONTENT] = table[:primary]
    if len(table) > primary:
        conversion.state["selection.extra_content.weight"] = table[primary:]
    return len(table) - primary
