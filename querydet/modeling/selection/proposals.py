"""Proposals of the encoder: a class and a box for every token.

Two-stage Deformable DETR (arXiv 2010.04159, appendix A.4): each token predicts a class, and a box relative to an anchor
at its centre, whose size doubles from level to level.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from querydet.modeling.boxes import in_full_precision
from querydet.modeling.geometry import pixel_centres, repeat_levels, valid_sizes
from querydet.modeling.heads import make_box_head, make_class_head
from querydet.parts import Heads
from querydet.structures import Proposals, TokenPyramid
from querydet.traits import trait

BASE_SIZE = 0.05  # side of the anchors of the finest level, relative to the image (released code)
MARGIN = 0.01  # least distance of an anchor's coordinates to 0 and 1; others are not usable (released code)


def make_anchors(features: TokenPyramid) -> tuple[Tensor, Tensor]:
    """Make the anchors of all tokens.

    Returns:
        The anchors (B, S, 4), relative to the image without padding, and whether they are usable (B, S): the token is
        not padding, and all four coordinates lie within (0.01, 0.99).
    """
    centres = pixel_centres(features.shapes, features.tokens.device) / valid_sizes(features)
    sides = [centres.new_full((1, 2), BASE_SIZE * 2.0**level) for level in range(len(features.shapes))]
    side = repeat_levels(sides, features.level_sizes)
    anchors = torch.cat([centres, side.expand_as(centres)], dim=-1)
    usable = ((anchors > MARGIN) & (anchors < 1 - MARGIN)).all(-1) & ~features.padding
    return anchors, usable


@dataclass(frozen=True, slots=True)
class AnchoredTokens:
    """The input of proposal heads, which those of several groups share."""

    tokens: Tensor  # (B, S, C); zero where not usable
    anchors_unsigmoid: Tensor  # (B, S, 4); +inf where not usable
    anchors: Tensor  # (B, S, 4); (1, 1, 1, 1) where not usable
    usable: Tensor  # (B, S) bool
    level_sizes: tuple[int, ...]  # number of tokens of each level


def anchor_tokens(memory: TokenPyramid) -> AnchoredTokens:
    """Return the encoded tokens with their anchors; tokens that are not usable are set to zero.

    As in the released code, that precedes the projection of the head, so that their features are equal but not zero.
    """
    anchors, usable = make_anchors(memory)
    unusable = ~usable[..., None]
    anchors_unsigmoid = torch.log(anchors / (1 - anchors)).masked_fill(unusable, torch.inf)
    return AnchoredTokens(
        tokens=memory.tokens.masked_fill(unusable, 0),
        anchors_unsigmoid=anchors_unsigmoid,
        # to logits and back, as in the released code: anchors within a large object overlap it equally, and rounding
        # decides which one is the best
        anchors=anchors_unsigmoid.sigmoid(),
        usable=usable,
        level_sizes=tuple(memory.level_sizes),
    )


class ProposalHead(nn.Module):
    """Projects the encoded tokens, and predicts class logits and a box for each.

    Args:
        num_classes: K.
        embed_dim: width C.
    """

    def __init__(self, *, num_classes: int, embed_dim: int = 256) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.linear = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.class_head = make_class_head(embed_dim, num_classes)
        self.box_head = make_box_head(embed_dim)
        nn.init.xavier_uniform_(self.linear.weight)

    def reset_projection(self) -> None:
        """Draw the projection of the tokens again."""
        self.linear.reset_parameters()
        nn.init.xavier_uniform_(self.linear.weight)

    def start_from(self, heads: Heads) -> None:
        """Copy the decoder's last class and box head, as all released codes do, where `heads` offers them."""
        first_heads = trait(heads, "first_heads")
        if first_heads is not None:
            class_head, box_head = first_heads()
            self.class_head.load_state_dict(class_head.state_dict())
            self.box_head.load_state_dict(box_head.state_dict())

    def forward(self, candidates: AnchoredTokens) -> Proposals:
        """Predict from anchored tokens; boxes and logits are at least float32."""
        features = self.norm(self.linear(candidates.tokens))
        return Proposals(
            features=features,
            logits=in_full_precision(self.class_head, features),
            boxes_unsigmoid=in_full_precision(self.box_head, features) + candidates.anchors_unsigmoid,
            anchors=candidates.anchors,
            level_sizes=candidates.level_sizes,
            usable=candidates.usable,
        )
