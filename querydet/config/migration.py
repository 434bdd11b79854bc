"""Migration of configs that version 0.1 saved: of names that have moved, and of parts that are composed differently.

`migrate` converts them to today's, so that a `config.yaml` of an old run loads, evaluates and resumes. Nothing that
the file names is imported here. Weights need no migration: their names have not changed.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from querydet.config.nesting import deepen

TARGET = "_target_"
_MODELING = "querydet.modeling"

# Modules and packages that have moved as a whole.
MODULES: Mapping[str, str] = {
    **{
        f"querydet.{name}": f"{_MODELING}.{name}"
        for name in (
            "assigners",
            "boxes",
            "criterion",
            "detector",
            "heads",
            "layers",
            "losses",
            "meta_arch",
            "neck",
            "normalizers",
            "postprocess",
            "queries",
            "selection",
        )
    },
    "querydet.assigners.selection": f"{_MODELING}.assigners.ranking",
    "querydet.decoder": f"{_MODELING}.decoder",
    "querydet.dense": _MODELING,
    "querydet.dense.backbone": f"{_MODELING}.backbones",
    "querydet.dense.decoder": f"{_MODELING}.decoder",
    "querydet.dense.encoder": f"{_MODELING}.encoder",
    "querydet.dense.neck": f"{_MODELING}.neck",
    "querydet.dense.no_object": f"{_MODELING}.no_object",
    "querydet.dense.queries": f"{_MODELING}.selection",
    "querydet.encoder": f"{_MODELING}.encoder",
    "querydet.evaluation.coco": "querydet.evaluation",
    "querydet.evaluation.lvis": "querydet.evaluation",
    "querydet.queries.hybrid": f"{_MODELING}.selection",
    "querydet.queries.position": f"{_MODELING}.decoder",
    "querydet.read_out": f"{_MODELING}.decoder",
    "querydet.solver": "querydet.engine.solver",
}

# Names of version 0.1, without their module, and today's: those that were renamed or that left their package.
NAMES: Mapping[str, str] = {
    "BoxEmbedding": f"{_MODELING}.selection.BoxEmbedding",
    "BoxPosition": f"{_MODELING}.decoder.BoxPosition",
    "ConditionalDecoder": f"{_MODELING}.decoder.ConditionalDecoder",
    "ConditionalDecoderLayer": f"{_MODELING}.decoder.conditional_decoder_layer",
    "DabDecoder": f"{_MODELING}.decoder.DabDecoder",
    "DecoderLayer": f"{_MODELING}.decoder.deformable_decoder_layer",
    "DenseEncoder": f"{_MODELING}.encoder.DenseEncoder",
    "DenseEncoderLayer": f"{_MODELING}.encoder.dense_encoder_layer",
    "DetrDecoder": f"{_MODELING}.decoder.DetrDecoder",
    "DetrDecoderLayer": f"{_MODELING}.decoder.detr_decoder_layer",
    "EncoderLayer": f"{_MODELING}.encoder.deformable_encoder_layer",
    "GroupedDenoising": f"{_MODELING}.queries.GroupedDenoising",
    "LearnedAnchors": f"{_MODELING}.selection.LearnedBoxes",
    "LearnedPositions": f"{_MODELING}.selection.LearnedQueries",
    "NoObjectHeads": f"{_MODELING}.no_object.NoObjectHeads",
    "OneToManyReadOut": f"{_MODELING}.decoder.OneToManyBranch",
    "PatternAnchors": f"{_MODELING}.selection.LearnedBoxesWithPatterns",
    "PositionalQueries": f"{_MODELING}.selection.LearnedQueriesWithPoints",
    "ScaledBoxPosition": f"{_MODELING}.decoder.ScaledBoxPosition",
    "ScaledDenseEncoder": f"{_MODELING}.encoder.ScaledDenseEncoder",
    "SingleMapNeck": f"{_MODELING}.neck.SingleMapNeck",
    "SoftmaxHungarianAssigner": f"{_MODELING}.no_object.SoftmaxHungarianAssigner",
    "SoftmaxLoss": f"{_MODELING}.no_object.SoftmaxLoss",
    "SoftmaxPostprocess": f"{_MODELING}.no_object.SoftmaxPostprocess",
    "make_dilated_stages": f"{_MODELING}.backbones.make_dilated_stages",
}

# Selections of version 0.1 that made groups themselves, and the selections that are wrapped today.
GROUPED: Mapping[str, str] = {
    "GroupedLearnedAnchors": "LearnedBoxes",
    "GroupedLearnedPositions": "LearnedQueries",
    "GroupedPatternAnchors": "LearnedBoxesWithPatterns",
    "GroupedPositionalQueries": "LearnedQueriesWithPoints",
    "GroupedTopKSelection": "TopKSelection",
}
HYBRID = "HybridTopKSelection"
_OF_GROUPS: dict[str, Any] = {
    "num_groups": 11,
    "source": "per_set",
    "separate": True,
}  # arguments of the wrapper, and its defaults
_OF_HYBRID: dict[str, Any] = {"extra_queries": 1500, "extra_content": None, "repeats": 6, "extra_weight": 1.0}

_OF_DENOISING_GROUPS = ("num_groups", "num_queries", "min_dynamic")

LOSS_NAMES: Mapping[str, str] = {"FocalLoss": "class", "SoftmaxLoss": "class", "L1Loss": "l1", "GIoULoss": "giou"}


def migrate(config: dict[str, Any]) -> dict[str, Any]:
    """Convert a config that version 0.1 saved to today's; any other is returned with equal content.

    Args:
        config: plain dicts and lists, with unresolved interpolations.
    """
    return _migrate_node(config)


def moved_name(name: str) -> str:
    """Return today's name of a class or function of version 0.1; other names are returned as they are."""
    module, _, last = name.rpartition(".")
    old_module = next((old for old in _by_length(MODULES) if module == old or module.startswith(old + ".")), None)
    if old_module is None:
        return name
    if last in NAMES:
        return NAMES[last]
    rest = module[len(old_module) :] if MODULES[old_module].rpartition(".")[2] == old_module.rpartition(".")[2] else ""
    return f"{MODULES[old_module]}{rest}.{last}"


def _by_length(names: Mapping[str, str]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def _last(node: Any) -> str:
    """Return the class name of a node's target as it was saved; "" for anything else."""
    target = node.get(TARGET) if isinstance(node, dict) else None
    return target.rpartition(".")[2] if isinstance(target, str) and target.startswith("querydet.") else ""


def _migrate_node(node: Any) -> Any:
    if isinstance(node, list):
        return [_migrate_node(child) for child in node]
    if not isinstance(node, dict):
        return node
    steps: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "selection": _migrate_selection,
        "criterion": _name_rules,
    }
    migrated = {key: _migrate_node(child) for key, child in node.items()}
    if _last(node) in ("ContrastiveDenoising", "Denoising"):
        migrated = _name_groups(migrated)
    for key, step in steps.items():
        if isinstance(migrated.get(key), dict):
            migrated[key] = step(migrated[key])
    if "selection" in node and "selection" in migrated and migrated["selection"] != node["selection"]:
        migrated = _point_into_wrapper(migrated, node["selection"])
    if "read_out" in migrated and "order" in migrated:
        migrated = {"one_to_many" if key == "read_out" else key: child for key, child in migrated.items()}
    if isinstance(node.get(TARGET), str) and _last(node) not in (*GROUPED, HYBRID):
        migrated[TARGET] = moved_name(node[TARGET])
    return migrated


def _migrate_selection(selection: dict[str, Any]) -> dict[str, Any]:
    last = _last(selection)
    if last in GROUPED:
        target, inner, own = "GroupedSelection", GROUPED[last], _OF_GROUPS
    elif last == HYBRID:
        target, inner, own = "HybridSelection", "TopKSelection", _OF_HYBRID
    else:
        return selection
    wrapped = {key: child for key, child in selection.items() if key not in own and key != TARGET}
    return {
        "selection": deepen({**wrapped, TARGET: f"{_MODELING}.selection.{inner}"}),
        **{key: selection.get(key, default) for key, default in own.items()},
        TARGET: f"{_MODELING}.selection.{target}",
    }


def _name_groups(denoising: dict[str, Any]) -> dict[str, Any]:
    """Move the number of denoising groups into a part; version 0.1 let the most crowded image of a batch decide."""
    own = {key: child for key, child in denoising.items() if key in _OF_DENOISING_GROUPS}
    if not own:
        return denoising
    rest = {key: child for key, child in denoising.items() if key not in own}
    return {**rest, "groups": {TARGET: f"{_MODELING}.queries.GroupsPerProcess", **own}}


def _point_into_wrapper(node: dict[str, Any], old_selection: Mapping[str, Any]) -> dict[str, Any]:
    """Let interpolations that refer to an argument of the selection find it in the wrapped selection."""
    own = {**_OF_GROUPS, **_OF_HYBRID}
    keys = "|".join(re.escape(key) for key in old_selection if key not in own and key != TARGET)
    if "selection" not in node["selection"] or not keys:
        return node
    pattern = re.compile(rf"(\$\{{\.*(?:model\.)?selection\.)({keys})(?=[.}}])")

    def rewrite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rewrite(child) for key, child in value.items()}
        if isinstance(value, list):
            return [rewrite(child) for child in value]
        return pattern.sub(r"\1selection.\2", value) if isinstance(value, str) and "${" in value else value

    return {key: child if key == "selection" else rewrite(child) for key, child in node.items()}


def _name_rules(criterion: dict[str, Any]) -> dict[str, Any]:
    rules = criterion.get("rules")
    if not isinstance(rules, list):
        return criterion
    named: dict[str, Any] = {}
    for rule in rules:
        losses = rule.get("losses") if isinstance(rule, dict) else None
        if isinstance(losses, list):
            rule = {**rule, "losses": _unique((_loss_name(term), term) for term in losses)}
        named = _unique([*named.items(), (_rule_name(rule), rule)])
    return {**criterion, "rules": named}


def _rule_name(rule: Any) -> str:
    if not isinstance(rule, dict):
        return "rule"
    if rule.get("role") == "denoising":
        return "denoising"
    return "one_to_many" if rule.get("branch") == "one_to_many" else str(rule.get("stage", "rule"))


def _loss_name(term: Any) -> str:
    """Return the name of a shipped loss term; for any other, its class in snake case."""
    last = str(term.get(TARGET, "term")).rpartition(".")[2] if isinstance(term, dict) else "term"
    return LOSS_NAMES.get(last) or re.sub(r"(?<!^)(?=[A-Z])", "_", last.removesuffix("Loss")).lower()


def _unique(pairs: Any) -> dict[str, Any]:
    """Make a dict of (name, value) pairs; repeated names get numbers."""
    unique: dict[str, Any] = {}
    for name, value in pairs:
        free = next(text for text in (name, *(f"{name}{index}" for index in range(2, 1000))) if text not in unique)
        unique[free] = value
    return unique
