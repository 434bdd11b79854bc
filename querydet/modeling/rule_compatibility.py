"""Checks that the supervision rules of a criterion fit the other parts of a detector.

A criterion without the trait `rules` is not checked.
"""

import logging
from collections.abc import Mapping

from querydet.modeling.criterion import SupervisionRule
from querydet.parts import CriterionPart, Decoder, Denoising, Heads, Postprocess, Selection
from querydet.structures import Branch, Role, Stage
from querydet.traits import trait

logger = logging.getLogger(__name__)

Rules = Mapping[str, SupervisionRule]


def check_rules(
    criterion: CriterionPart,
    selection: Selection,
    denoising: Denoising | None,
    decoder: Decoder,
    heads: Heads,
    postprocess: Postprocess,
) -> None:
    """Raise ValueError, naming rules, parts and remedy, when rules and parts do not fit together."""
    rules: Rules = trait(criterion, "rules")
    if not rules:
        return
    _check_supervision(rules, selection, denoising)
    _check_class_agnostic(rules, selection)
    _check_branches(rules, denoising, decoder, heads)
    _check_assigners(rules, selection)
    _check_layers(rules, decoder)
    _check_repeats(rules, selection)
    _check_suppression(rules, postprocess)
    _check_scores(rules, selection, heads, postprocess)


def _check_supervision(rules: Rules, selection: Selection, denoising: Denoising | None) -> None:
    made = {(Stage.DECODER, Role.MATCHING)}
    made |= {(Stage.ENCODER, Role.MATCHING)} if trait(selection, "has_encoder_predictions") else set()
    made |= {(Stage.DECODER, Role.DENOISING)} if denoising is not None else set()
    supervised = {(rule.stage, rule.role) for rule in rules.values() if rule.branch is Branch.ONE_TO_ONE}
    for stage, role in sorted(made ^ supervised):
        queries = f"{stage.value} {role.value} queries"
        if (stage, role) in made:
            raise ValueError(
                f"no supervision rule is about the {queries} that this detector makes: add one to model.criterion.rules"
            )
        name = next(name for name, rule in rules.items() if (rule.stage, rule.role) == (stage, role))
        raise ValueError(
            f"the supervision rule '{name}' is about {queries}, which no part of this detector makes: remove it "
            f"(model.criterion.rules.{name}=null), or add the part"
        )


def _check_class_agnostic(rules: Rules, selection: Selection) -> None:
    if not trait(selection, "has_encoder_predictions"):
        return
    objectness = trait(selection, "class_agnostic")
    for name, rule in rules.items():
        if rule.stage is Stage.ENCODER and rule.class_agnostic != objectness:
            raise ValueError(
                f"model.selection.objectness is {objectness}, but the encoder's supervision rule "
                f"(model.criterion.rules.{name}) has class_agnostic={rule.class_agnostic}: queries would be selected "
                "by class scores that are not trained for it; make them equal"
            )


BRANCHES = {  # of training alone: the trait of a decoder that has it, and where it is made
    Branch.ONE_TO_MANY: ("has_one_to_many", "model.decoder.layer.one_to_many"),
    Branch.SECOND_STREAM: ("has_second_stream", "model.decoder.second_stream"),
}


def _check_branches(rules: Rules, denoising: Denoising | None, decoder: Decoder, heads: Heads) -> None:
    for branch, (has_branch, place) in BRANCHES.items():
        made = {Role.MATCHING} if trait(decoder, has_branch) else set()
        if made and branch is Branch.SECOND_STREAM and denoising is not None:
            made.add(Role.DENOISING)
        _check_branch({name: rule for name, rule in rules.items() if rule.branch is branch}, branch, made, place)
    if trait(heads, "separate_one_to_many") and not trait(decoder, "has_one_to_many"):
        raise ValueError(
            "the one-to-many heads would never be used: set model.decoder.layer.one_to_many, or "
            "model.heads.separate_one_to_many=[]"
        )


def _check_branch(rules: Rules, branch: Branch, made: set[Role], place: str) -> None:
    for name, rule in rules.items():
        if rule.stage is not Stage.DECODER or rule.role not in made:
            raise ValueError(
                f"the supervision rule '{name}' is about {rule.describe()}, which no part of this detector makes: "
                f"remove it (model.criterion.rules.{name}=null), or add the branch to the decoder with {place}"
            )
    for role in sorted(made - {rule.role for rule in rules.values()}):
        raise ValueError(
            f"no supervision rule is about the {branch.value.replace('_', '-')} predictions of the decoder's "
            f"{role.value} queries: add one with branch='{branch.value}' to model.criterion.rules, or set {place}=None"
        )


def _check_assigners(rules: Rules, selection: Selection) -> None:
    for rule in rules.values():
        if trait(rule.assigner, "needs_one_to_one_branch") and rule.branch is Branch.ONE_TO_ONE:
            raise ValueError(
                f"the assigner of {rule.describe()} reads the one-to-one predictions beside its own, which "
                "only other branches have: set merge_with=None and iou_of='own', or the rule's branch='one_to_many'"
            )
        points = rule.stage is Stage.DECODER and selection.reference_dim == 2
        if points and trait(rule.assigner, "compares_start_boxes"):
            raise ValueError(
                f"the assigner of {rule.describe()} ({type(rule.assigner).__name__}) compares the boxes that queries "
                "start from, but these start from points: use an assigner that compares predictions "
                "(HungarianAssigner with boxes='predicted'), or select boxes"
            )


def _check_layers(rules: Rules, decoder: Decoder) -> None:
    for name, rule in rules.items():
        wanted, layers = trait(rule.assigner, "num_layers"), 1 if rule.stage is Stage.ENCODER else decoder.num_layers
        if wanted not in (None, layers):
            raise ValueError(
                f"model.criterion.rules.{name}.assigner has copies for {wanted} layers, but the {rule.stage.value} "
                f"predicts after {layers}: give one number for each layer, or one for all"
            )


def _check_repeats(rules: Rules, selection: Selection) -> None:
    repeats = trait(selection, "target_repeats")
    for rule in rules.values():
        one_to_one = (rule.stage, rule.role, rule.branch) == (Stage.DECODER, Role.MATCHING, Branch.ONE_TO_ONE)
        if repeats > 1 and one_to_one and not trait(rule.assigner, "repeats_targets"):
            raise ValueError(
                f"model.selection offers each object {repeats} times, and {type(rule.assigner).__name__} does not "
                "repeat objects: use HungarianAssigner in the rule of the decoder's one-to-one predictions, or a "
                "selection that offers them once (repeats=1, or no extra group)"
            )


def _check_suppression(rules: Rules, postprocess: Postprocess) -> None:
    inference = (Stage.DECODER, Role.MATCHING, Branch.ONE_TO_ONE)
    suppressed = trait(postprocess, "suppresses")
    for rule in rules.values():
        if (rule.stage, rule.role, rule.branch) != inference:
            continue
        one_to_one, assigner = trait(rule.assigner, "one_to_one"), type(rule.assigner).__name__
        if suppressed and one_to_one is True and not trait(postprocess, "suppresses_one_to_one"):
            logger.warning(
                "The queries that inference reads are trained one to one (%s), so that overlapping detections are "
                "different objects, and model.postprocess=%s suppresses overlaps: that may lose objects in crowds. "
                "TopKPostprocess keeps them",
                assigner,
                type(postprocess).__name__,
            )
        if not suppressed and one_to_one is False:
            raise ValueError(
                f"the queries that inference reads are trained to find an object several times ({assigner}), and "
                f"model.postprocess={type(postprocess).__name__} would report it several times: use NMSPostprocess, or "
                "assign one to one (HungarianAssigner)"
            )


def _check_scores(rules: Rules, selection: Selection, heads: Heads, postprocess: Postprocess) -> None:
    """Check that heads, class loss, matching and postprocess interpret logits in the same way."""
    scores = trait(heads, "score_function") or "sigmoid"
    if scores == "softmax" and trait(selection, "has_encoder_predictions"):
        raise ValueError(
            f"model.heads={type(heads).__name__} has an output for no object, which the proposals of model.selection "
            "have not: use querydet.modeling.heads.PredictionHeads, or queries that are learned"
        )
    readers: dict[str, object] = {"model.postprocess": postprocess}
    for name, rule in rules.items():
        readers[f"model.criterion.rules.{name}.assigner"] = rule.assigner
        readers |= {f"model.criterion.rules.{name}.losses.{key}": term for key, term in rule.losses.items()}
    for key, part in readers.items():
        if trait(part, "score_function") not in (None, scores):
            raise ValueError(
                f"{key}={type(part).__name__} reads class logits by {trait(part, 'score_function')}, but "
                f"model.heads={type(heads).__name__} makes them for {scores}: take heads, class loss, matching and "
                "postprocess from querydet.modeling.no_object (NoObjectHeads, SoftmaxLoss, SoftmaxHungarianAssigner, "
                "SoftmaxPostprocess), or none of them"
            )
