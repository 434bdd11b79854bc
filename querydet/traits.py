"""Traits: optional attributes that describe a part of a detector to the others.

Each is declared here once, with the value that counts where a part does not have it. The traits of each slot are listed
at its Protocol in `querydet.parts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Trait:
    """An optional attribute of a part: the value that counts where a part does not have it, and the meaning."""

    default: Any
    meaning: str


TRAITS: Mapping[str, Trait] = {
    # of every part with weights
    "embed_dim": Trait(None, "C, the width of its tokens or queries; None: any"),
    "training_only": Trait((), "names of children that inference never calls; their weights are left out of exports"),
    "indicator": Trait(False, "the last channel of the content tells denoising from matching queries"),
    "num_groups": Trait(1, "G, the number of matching groups that it makes queries for in training"),
    # of encoder and decoder
    "num_levels": Trait(None, "L, the number of levels that it attends to; None: any"),
    "attention_rows": Trait(
        None,
        "function (tokens, queries) -> rows of attention maps over all tokens that a training step keeps for an image, "
        "of all heads and layers; None: its attention keeps no maps over all tokens",
    ),
    # of the selection
    "num_classes": Trait(None, "K of its encoder predictions, or of the labels that it reads; None: no such number"),
    "has_encoder_predictions": Trait(False, "its queries bring predictions of the encoder, which a rule supervises"),
    "class_agnostic": Trait(False, "its encoder predictions tell objects from background by the first class"),
    "target_repeats": Trait(1, "R, the most repeats of each object that it offers to a group of queries"),
    "learned_content": Trait(False, "the content of its queries is a learned table (mixed query selection)"),
    "num_rows": Trait(None, "of a content: the number of queries that its table is for; None: it has none"),
    "needs_box_content": Trait(True, "of a content: it is added to the content that a box embedding makes"),
    "start_from": Trait(None, "function (heads), called once after building: copies initial weights from the heads"),
    # of the denoising
    "contrastive": Trait(False, "makes negative queries too, which have to be rejected"),
    # of the decoder
    "embeds_boxes": Trait(False, "makes positional queries from the current boxes before every layer"),
    "has_one_to_many": Trait(False, "returns the input of a one-to-many branch in training"),
    "has_second_stream": Trait(False, "returns the output of a second stream without self-attention in training"),
    "reads_tokens": Trait(True, "it, or the cross-attention of its layers, updates queries by tokens"),
    "attends_in_masks": Trait(False, "queries attend within the masks that they predict"),
    "look_forward_twice": Trait(False, "the loss of a layer also trains the box refinement of the layer before it"),
    # of the heads
    "separate_one_to_many": Trait((), "kinds of heads that the one-to-many branch has of its own"),
    "predicts_boxes": Trait(True, "has a box head; without one, all boxes are the whole image"),
    "first_heads": Trait(None, "function () -> class and box head whose initial weights proposal heads start from"),
    # of everything that reads or writes class logits
    "score_function": Trait(
        None, 'how class logits become scores, "sigmoid" or "softmax"; None: does not depend on it'
    ),
    # of an assigner
    "one_to_one": Trait(None, "assigns at most one query to each object (True), or several (False); None: unknown"),
    "repeats_targets": Trait(False, "honours the group's `target_repeats`"),
    "compares_start_boxes": Trait(False, "compares the boxes that queries start from, so that they must be boxes"),
    "num_layers": Trait(None, "of an assigner: the number of layers of its stage that it is for; None: any"),
    "needs_one_to_one_branch": Trait(False, "reads the one-to-one predictions of the same queries"),
    # of a loss term
    "normalizer": Trait(None, "divides this term in place of the rule's normalizer"),
    "reads_boxes": Trait(False, "of an assigner, too: compares predicted boxes"),
    "reads_masks": Trait(False, "of an assigner, too: reads masks; a loss is computed for predictions with masks only"),
    "use_counts": Trait(
        None, "function (counts (K,)), called before training: takes the number of training images of each class"
    ),
    "aligns_quality": Trait(False, "its class targets tell how good the box of a query is (Align-DETR)"),
    # of the masks
    "layers": Trait("all", 'the layers of the decoder that have masks in training, "last" or "all"'),
    "groups": Trait("all", 'the groups of queries that have masks in training, "primary" or "all"'),
    # of the heads of masks
    "in_channels": Trait({}, "number of channels of each backbone map that it reads, by the map's name"),
    "level": Trait(None, "index of the level of tokens that it reads; negative ones count from the coarsest"),
    # of the criterion
    "rules": Trait({}, "supervision rules by name; checks compare them with the parts"),
    # of selection and postprocess
    "suppresses": Trait(False, "drops boxes that overlap a better one"),
    "num_detections": Trait(None, "of a postprocess: the most detections of an image; None: no limit"),
    "suppresses_one_to_one": Trait(False, "of a postprocess: it is meant for queries that are trained one to one"),
}


def trait(part: object, name: str) -> Any:
    """Return a trait of a part, or the trait's default where the part does not declare it.

    Raises:
        KeyError: no trait has this name.
    """
    return getattr(part, name, TRAITS[name].default)
