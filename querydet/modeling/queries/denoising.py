"""Denoising: extra queries for training that start from noised objects (DN-DETR, arXiv 2203.01305, section 4.3).

Denoising has several groups, which do not see each other. In each of them, a query is made of every object: its content
embeds the object's label, which is sometimes replaced, and its box is that of the object, moved and resized. The query
has to reconstruct the object.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.queries.denoising_groups import DenoisingGroups, FixedGroups
from querydet.modeling.queries.noised_objects import (
    NoisedObjects,
    NoiseDraws,
    check_noise,
    draw_noise,
    keep_off_the_border,
    make_label_table,
)
from querydet.modeling.queries.object_slots import ImageSlots
from querydet.structures import InitialQueries, Targets


class Denoising(nn.Module):
    """Makes denoising queries from the objects of a batch.

    Args:
        num_classes: K; replacement labels are drawn from all classes.
        embed_dim: width C.
        groups: decides in how many groups each object is repeated; 5 by default in the paper, 10 in its deformable
            models, and about 100 queries of an image in Group DETR (arXiv 2207.13085, table 3); None: `FixedGroups()`.
        label_noise: probability of replacing a label; the new one may be equal.
        box_noise: largest move of a centre in half box sizes, and largest change of a size in box sizes.
        num_embeddings: rows of the label table; None: K + 1, as released (the last row is never used here).
        indicator: whether the last channel of the content is 1 instead of a channel of the label table, which
            distinguishes denoising from matching queries (section 4.5); the selection then needs its indicator too, 0.
        inverse_sigmoid_eps: clipping constant of `querydet.modeling.boxes.inverse_sigmoid`.

    Raises:
        ValueError: when a number is out of its range.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        embed_dim: int = 256,
        groups: DenoisingGroups | None = None,
        label_noise: float = 0.2,
        box_noise: float = 0.4,
        num_embeddings: int | None = None,
        indicator: bool = True,
        inverse_sigmoid_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        check_noise(label_noise, box_noise)
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.groups: DenoisingGroups = FixedGroups() if groups is None else groups
        self.label_noise = label_noise
        self.box_noise = box_noise
        self.indicator = indicator
        self.inverse_sigmoid_eps = inverse_sigmoid_eps
        self.label_embed = make_label_table(num_classes, num_embeddings, embed_dim - indicator)

    def forward(self, targets: Targets, draws: Sequence[NoiseDraws] | None = None) -> tuple[InitialQueries, ...]:
        """Make the denoising queries of a batch, which see the primary group.

        Args:
            targets: the objects of the batch; without any, there are no queries.
            draws: random numbers of the noise of each image; None: drawn from `targets.seeds`.

        Returns:
            One query group, whose blocks are the denoising groups of each image: the j-th of n objects has slot
            `g * n + j` in group g. Unfilled slots and padding have zero content and a box of half the image, and no
            loss.
        """
        shares = self.groups.share(targets.counts, copies=1)
        made = NoisedObjects.copy(targets, shares, self.draw(targets, shares) if draws is None else draws)
        content = self.label_embed(made.noised_labels(self.label_noise))
        if self.indicator:
            content = F.pad(content, (0, 1), value=1.0)
        boxes = keep_off_the_border(self.noise_boxes(made.boxes, made.draws), self.inverse_sigmoid_eps)
        return (
            InitialQueries(
                group=made.copies.query_group(),
                content=made.copies.fill(content, unfilled=0.0),
                boxes=made.copies.fill(boxes, unfilled=0.5),
            ),
        )

    def noise_boxes(self, boxes: Tensor, draws: NoiseDraws) -> Tensor:
        """Move and resize the boxes (N, 4) of N copies, with coordinates clipped to [0, 1]."""
        size = boxes[:, 2:]
        extent = torch.cat([size / 2, size], dim=-1) * self.box_noise
        return (boxes + draws.signs * draws.magnitudes * extent).clamp(0, 1)

    def draw(self, targets: Targets, shares: Sequence[ImageSlots]) -> list[NoiseDraws]:
        """Draw the noise of each image from its seed only."""
        return draw_noise(targets, shares, self.num_classes)
