"""Compositions with groups of queries, each beside the one without, and the weights that a single group has."""

from typing import Any

from detectron2.config import LazyCall as L
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.queries import GroupsPerImage
from querydet.structures import PredictionSet
from tests.models import make_inputs, make_targets, tiny_detector

TWO_STAGE = {"group_deformable_detr_pp": "deformable_detr_pp", "group_dino": "dino"}
LEARNED = {
    "group_dab_deformable_detr": "dab_deformable_detr",
    "group_dn_detr": "dn_detr",
    "group_detr": "detr",
    "group_conditional_detr": "conditional_detr",
    "group_dab_detr": "dab_detr",
    "group_dn_dab_detr": "dn_dab_detr",
}
BASES = {**TWO_STAGE, **LEARNED}
PER_GROUP = ("selection.proposals.", "selection.content.", "selection.anchors.", "selection.embedding.")
SIZES = [(96, 128), (80, 64)]


def losses_of(detector: QueryDetector, inputs: list[dict]) -> dict[str, Tensor]:
    losses = detector.train()(inputs)
    assert isinstance(losses, dict)
    return losses


def predictions_of(detector: QueryDetector, counts: tuple[int, ...] | None = (3, 2)) -> tuple[PredictionSet, ...]:
    images = detector.preprocess(make_inputs(SIZES))
    targets = None if counts is None else make_targets(list(counts))
    return detector.predict(detector.backbone(images.tensor), padding_mask(images), targets)


def dynamic(name: str) -> dict[str, Any]:
    """Group DETR lets DN-DETR's number of denoising groups depend on the objects."""
    dynamic_ones = ("group_dn_detr", "group_dn_dab_detr")
    return {"denoising__groups": L(GroupsPerImage)(num_queries=6)} if name in dynamic_ones else {}


def base_detector(name: str) -> QueryDetector:
    return tiny_detector(BASES[name], **dynamic(name))


def weights_of_group(detector: QueryDetector, number: int) -> dict[str, Tensor]:
    """Weights of the base model that has the parts of one group only."""
    state = {}
    for name, value in detector.state_dict().items():
        if name.startswith("denoising."):
            _, _, member, rest = name.split(".", 3)
            state |= {f"denoising.{rest}": value} if int(member) == number else {}
        elif name.startswith("selection.extra_groups."):
            _, _, member, rest = name.split(".", 3)
            rest = "embedding.weight" if rest == "weight" else rest  # a table, or a selection with several
            state |= {f"selection.{rest}": value} if int(member) == number - 1 else {}
        elif name.startswith("selection.extra_"):
            _, part, member, rest = name.split(".", 3)
            base = {"extra_proposals": "proposals", "extra_contents": "content"}[part]
            state |= {f"selection.{base}.{rest}": value} if int(member) == number - 1 else {}
        elif number == 0 or not name.startswith(PER_GROUP):
            state[name] = value
    return state
