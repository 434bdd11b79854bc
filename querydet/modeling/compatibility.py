"""Do the parts of a detector fit together? Asked once, when it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from querydet.modeling.assigners import HungarianAssigner, IoUAssigner, OneToManyAssigner
from querydet.modeling.dense_compatibility import check_dense
from querydet.modeling.layers import MultiScaleDeformableAttention
from querydet.modeling.postprocess import NMSPostprocess
from querydet.modeling.queries import GroupedDenoising
from querydet.modeling.selection import HybridTopKSelection, TopKSelection
from querydet.structures import Branch, Role, Stage

if TYPE_CHECKING:
    from querydet.modeling.detector import QueryDetector


def check_parts(detector: QueryDetector) -> None:
    """Raise ValueError, naming parts and remedy, when the parts of a detector do not fit together."""
    _check_backbone(detector)
    _check_levels(detector)
    _check_widths(detector)
    _check_heads(detector)
    _check_queries(detector)
    _check_indicator(detector)
    _check_groups(detector)
    _check_supervision(detector)
    _check_one_to_many(detector)
    _check_assigners(detector)
    _check_suppression(detector)
    check_dense(detector)


def _check_backbone(detector: QueryDetector) -> None:
    shapes = detector.backbone.output_shape()
    for name, channels in detector.neck.in_channels.items():
        if name not in shapes:
            raise ValueError(f"model.neck.in_channels wants '{name}', but the backbone gives {sorted(shapes)}")
        if shapes[name].channels != channels:
            raise ValueError(
                f"model.neck.in_channels.{name} is {channels}, but the backbone gives {shapes[name].channels} channels"
            )


def _check_levels(detector: QueryDetector) -> None:
    levels = detector.neck.num_levels
    for part in ("encoder", "decoder"):
        for module in getattr(detector, part).modules():
            if isinstance(module, MultiScaleDeformableAttention) and module.num_levels != levels:
                raise ValueError(
                    f"the neck makes {levels} levels, but the {part} attends to {module.num_levels}: set "
                    f"model.{part}.layer.num_levels={levels}"
                )


def _check_widths(detector: QueryDetector) -> None:
    """All parts that say their width, as ``embed_dim``, say the neck's."""
    parts = {
        "neck.position_embedding": getattr(detector.neck, "position_embedding", None),
        "encoder.layer": next(iter(getattr(detector.encoder, "layers", ())), None),
        "selection": detector.selection,
        "selection.proposals": getattr(detector.selection, "proposals", None),
        "denoising": detector.denoising,
        "decoder.query_position": detector.decoder.query_position,
        "decoder.layer": detector.decoder.layers[0],
        "heads": detector.heads,
    }
    width = getattr(detector.neck, "embed_dim", None)
    for name, part in parts.items():
        found = getattr(part, "embed_dim", width)
        if width is not None and found != width:
            raise ValueError(
                f"model.{name}.embed_dim is {found}, but model.neck.embed_dim is {width}, and all parts share one "
                "width: set model.neck.embed_dim alone, which the other parts of the shipped configs follow"
            )


def _check_heads(detector: QueryDetector) -> None:
    layers = len(detector.decoder.layers)
    if detector.heads.num_layers != layers:
        raise ValueError(f"model.heads.num_layers is {detector.heads.num_layers}, but the decoder has {layers} layers")
    counts = {"heads": detector.heads.num_classes}
    if isinstance(detector.selection, TopKSelection):
        counts["selection.proposals"] = detector.selection.proposals.class_head.out_features
    if detector.denoising is not None:
        counts["denoising"] = detector.denoising.num_classes
    for part, count in counts.items():
        if count != detector.num_classes:
            raise ValueError(
                f"model.num_classes is {detector.num_classes}, but model.{part} is made for {count} classes"
            )


def _check_queries(detector: QueryDetector) -> None:
    embedded = detector.decoder.query_position is not None
    fixed, points = detector.selection.fixed_positions, detector.selection.reference_dim == 2
    if not embedded and not fixed:
        raise ValueError(
            "nothing gives the queries a position: set model.decoder.query_position (positions from the current boxes) "
            "or model.selection.box_embedding (fixed positions from the first boxes)"
        )
    if embedded and points:
        raise ValueError(
            "model.decoder.query_position makes positions from boxes, but model.selection gives reference points "
            "without a size: set model.decoder.query_position=None, or select boxes"
        )
    if embedded and fixed:
        raise ValueError(
            "the queries would have two positions: set model.decoder.query_position=None to keep the fixed ones of "
            "model.selection.box_embedding, or model.selection.box_embedding=None"
        )
    if detector.denoising is not None and points:
        raise ValueError(
            "denoising queries start from boxes, but model.selection gives reference points and a table of positions, "
            "and there is no map from a box to one: select boxes, or set model.denoising=None"
        )


def _check_indicator(detector: QueryDetector) -> None:
    if detector.denoising is None:
        return
    marks = {part: getattr(getattr(detector, part), "indicator", False) for part in ("selection", "denoising")}
    if marks["selection"] != marks["denoising"]:
        kept, other = sorted(marks, key=lambda part: not marks[part])
        raise ValueError(
            f"model.{kept} keeps the last channel of the content for an indicator, which tells matching from denoising "
            f"queries, but model.{other} does not: give both an indicator, or model.{kept}.indicator=False"
        )


def _check_groups(detector: QueryDetector) -> None:
    selection, denoising = detector.selection, detector.denoising
    groups = getattr(selection, "num_groups", 1)
    if isinstance(denoising, GroupedDenoising) and denoising.num_groups != groups:
        raise ValueError(
            f"model.denoising makes queries for {denoising.num_groups} groups, but model.selection makes {groups}: set "
            f"model.denoising.num_groups={groups}, or use the plain denoising part, for the primary group alone"
        )
    if not isinstance(selection, HybridTopKSelection):
        return
    for rule in detector.criterion.rules:
        one_to_one = (rule.stage, rule.role, rule.branch) == (Stage.DECODER, Role.MATCHING, Branch.ONE_TO_ONE)
        if one_to_one and not isinstance(rule.assigner, HungarianAssigner):
            raise ValueError(
                f"model.selection offers each object {selection.repeats} times to an extra group of queries, and "
                f"{type(rule.assigner).__name__} does not repeat objects: use HungarianAssigner in the rule of the "
                "decoder's one-to-one predictions, or a selection without an extra group"
            )


def _check_supervision(detector: QueryDetector) -> None:
    selection = detector.selection
    has_proposals = isinstance(selection, TopKSelection)
    wanted = {(Stage.DECODER, Role.MATCHING)}
    wanted |= {(Stage.ENCODER, Role.MATCHING)} if has_proposals else set()
    wanted |= {(Stage.DECODER, Role.DENOISING)} if detector.denoising is not None else set()
    found = {(rule.stage, rule.role) for rule in detector.criterion.rules if rule.branch is Branch.ONE_TO_ONE}
    for stage, role in sorted(wanted ^ found):
        what = f"{stage.value} {role.value} queries"
        if (stage, role) in wanted:
            raise ValueError(
                f"no supervision rule is about the {what} that this detector makes: add one to model.criterion.rules"
            )
        raise ValueError(
            f"a supervision rule is about {what}, which no part of this detector makes: remove it from "
            "model.criterion.rules, or add the part"
        )
    if not isinstance(selection, TopKSelection):
        return
    for rule in detector.criterion.rules:
        if rule.stage is Stage.ENCODER and rule.class_agnostic != selection.objectness:
            raise ValueError(
                f"model.selection.objectness is {selection.objectness}, but the encoder's supervision rule has "
                f"class_agnostic={rule.class_agnostic}: queries would be selected by class scores that are not "
                "trained for it; make them equal"
            )


def _check_one_to_many(detector: QueryDetector) -> None:
    read_out = detector.decoder.layers[0].read_out
    rules = [rule for rule in detector.criterion.rules if rule.branch is Branch.ONE_TO_MANY]
    for rule in rules:
        if read_out is None or (rule.stage, rule.role) != (Stage.DECODER, Role.MATCHING):
            raise ValueError(
                f"a supervision rule is about {rule.describe()}, which no part of this detector makes: remove it from "
                "model.criterion.rules, or read out decoder matching queries with model.decoder.layer.read_out"
            )
    if read_out is None:
        if detector.heads.one_to_many_heads:
            raise ValueError(
                "the one-to-many heads would never be used: set model.decoder.layer.read_out, or "
                "model.heads.separate_one_to_many=[]"
            )
    elif not rules:
        raise ValueError(
            "no supervision rule is about the one-to-many read-out of the decoder layers: add one with "
            "branch='one_to_many' to model.criterion.rules, or set model.decoder.layer.read_out=None"
        )


def _check_assigners(detector: QueryDetector) -> None:
    for rule in detector.criterion.rules:
        assigner = rule.assigner
        if isinstance(assigner, OneToManyAssigner):
            if assigner.merge_with is not None and rule.branch is Branch.ONE_TO_ONE:
                raise ValueError(
                    f"the assigner of {rule.describe()} wants the union with the one-to-one match, which only a "
                    "one-to-many read-out has: set merge_with=None, or the rule's branch='one_to_many'"
                )
            assigner = assigner.merge_with or assigner
        points = rule.stage is Stage.DECODER and detector.selection.reference_dim == 2
        starts = isinstance(assigner, IoUAssigner)
        if points and (starts or (isinstance(assigner, HungarianAssigner) and assigner.boxes == "start")):
            remedy = "use another assigner, or select boxes" if starts else "set its boxes='predicted'"
            raise ValueError(
                f"the assigner of {rule.describe()} compares the boxes that queries start from, but these start from "
                f"points: {remedy}"
            )


def _check_suppression(detector: QueryDetector) -> None:
    read = (Stage.DECODER, Role.MATCHING, Branch.ONE_TO_ONE)  # what inference reads
    suppressed = isinstance(detector.postprocess, NMSPostprocess)
    for rule in detector.criterion.rules:
        if (rule.stage, rule.role, rule.branch) != read:
            continue
        if suppressed and isinstance(rule.assigner, HungarianAssigner):
            raise ValueError(
                "the queries that inference reads are trained one to one (HungarianAssigner), so that overlapping "
                "detections are different objects, but model.postprocess=NMSPostprocess suppresses overlaps: use "
                "TopKPostprocess, or assign several queries to an object (querydet.modeling.assigners.IoUAssigner)"
            )
        if not suppressed and isinstance(rule.assigner, IoUAssigner | OneToManyAssigner):
            raise ValueError(
                f"the queries that inference reads are trained to find an object several times "
                f"({type(rule.assigner).__name__}), and model.postprocess={type(detector.postprocess).__name__} would "
                "report it several times: use NMSPostprocess, or assign one to one (HungarianAssigner)"
            )
