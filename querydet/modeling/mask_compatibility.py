"""Checks that the mask branch of a detector fits the other parts, run once when it is built."""

import logging
from collections.abc import Mapping
from typing import Any

from querydet.mask_parts import Masks
from querydet.modeling.criterion import SupervisionRule
from querydet.parts import CriterionPart, Decoder, Heads, Neck, Selection
from querydet.structures import Stage
from querydet.traits import trait

logger = logging.getLogger(__name__)

Rules = Mapping[str, SupervisionRule]


def check_masks(
    masks: Masks | None,
    backbone: Any,
    neck: Neck,
    selection: Selection,
    decoder: Decoder,
    heads: Heads,
    criterion: CriterionPart,
) -> None:
    """Raise ValueError, naming parts and remedy, when masks and the other parts do not fit together."""
    rules: Rules = trait(criterion, "rules")
    if not trait(heads, "predicts_boxes"):
        _check_no_boxes(rules, masks)
    if masks is None:
        _check_no_masks(rules, decoder)
        return
    _check_maps(masks, backbone, neck)
    reading = [name for name, rule in rules.items() if reads_masks(rule)]
    if rules and not reading:
        raise ValueError(
            "nothing trains the masks of model.masks: add losses of masks to a rule (model.criterion.rules), such as "
            "querydet.modeling.masks.PointMaskLoss and PointDiceLoss, or set model.masks=null"
        )
    for name in reading:
        _check_rule(name, rules[name], masks)
    groups = trait(selection, "num_groups")
    if reading and groups > 1 and trait(masks, "groups") == "primary":
        logger.warning(
            "only the primary of %d groups has masks, whose losses are divided by the number of groups as all others "
            "are: set model.masks.groups=all, or multiply the weights of the losses of masks",
            groups,
        )


def reads_masks(rule: SupervisionRule) -> bool:
    """Return whether the assigner or a loss of a rule reads masks."""
    return any(trait(part, "reads_masks") for part in (rule.assigner, *rule.losses.values()))


def _check_no_boxes(rules: Rules, masks: Masks | None) -> None:
    if masks is None:
        raise ValueError("model.heads predicts neither boxes nor masks: set model.masks, or take PredictionHeads")
    for name, rule in rules.items():
        reading = [type(part).__name__ for part in (rule.assigner, *rule.losses.values()) if trait(part, "reads_boxes")]
        if reading:
            raise ValueError(
                f"{', '.join(reading)} of the rule '{name}' read predicted boxes, but model.heads predicts none: leave "
                "them out, set the weights of boxes in the matching to 0, or take "
                "querydet.modeling.heads.PredictionHeads"
            )


def _check_no_masks(rules: Rules, decoder: Decoder) -> None:
    for name, rule in rules.items():
        if reads_masks(rule):
            terms = [term for term, loss in rule.losses.items() if trait(loss, "reads_masks")]
            readers = [f"model.criterion.rules.{name}.losses.{term}=null" for term in terms]
            readers += ["no mask_cost of the assigner"] if trait(rule.assigner, "reads_masks") else []
            raise ValueError(
                f"the rule '{name}' reads masks, but model.masks is None: set it (configs/common/models/masks), or "
                f"leave out what reads them, with {' '.join(readers)}"
            )
    if trait(decoder, "attends_in_masks"):
        raise ValueError("the decoder attends within masks, but model.masks is None: set it, or take another decoder")


def _check_maps(masks: Masks, backbone: Any, neck: Neck) -> None:
    shapes, head = backbone.output_shape(), masks.head
    for name, channels in trait(head, "in_channels").items():
        if name not in shapes:
            raise ValueError(
                f"model.masks.head.in_channels names '{name}', but the backbone gives {sorted(shapes)}: add it to "
                "model.backbone.out_features"
            )
        if shapes[name].channels != channels:
            raise ValueError(
                f"model.masks.head.in_channels.{name} is {channels}, but the backbone gives {shapes[name].channels}"
            )
    level = trait(head, "level")
    if level is not None and not -neck.num_levels <= level < neck.num_levels:
        raise ValueError(f"model.masks.head.level is {level}, but the neck makes {neck.num_levels} levels")


def _check_rule(name: str, rule: SupervisionRule, masks: Masks) -> None:
    if rule.stage is not Stage.DECODER or not masks.covers(rule.role, rule.branch):
        raise ValueError(
            f"the rule '{name}' reads masks of {rule.describe()}, which have none: add their role to model.masks.roles "
            "and their branch to model.masks.branches (the encoder's predictions never have masks), or leave out the "
            "losses and costs of masks"
        )
    if trait(rule.assigner, "reads_masks") and (trait(masks, "layers"), trait(masks, "groups")) != ("all", "all"):
        raise ValueError(
            f"the assigner of the rule '{name}' compares masks of all layers and groups: set model.masks.layers=all "
            "and model.masks.groups=all"
        )
