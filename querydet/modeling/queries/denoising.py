"""Denoising: extra queries for training that start from noised objects (DN-DETR, arXiv 2203.01305, section 4.3).

Denoising has several groups, which do not see each other. In each of them, a query is made of every object: its content
embeds the object's label, which is sometimes replaced, and its box is that of the object, moved and resized. The query
has to reconstruct the object. As in the released code, images with fewer objects than others have unfilled slots, which
are visible in their group and have no loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.queries.noised_objects import (
    NoiseDraws,
    ObjectSlots,
    draw_noise,
    keep_off_the_border,
    make_label_table,
    noise_labels,
)
from querydet.structures import Assignment, InitialQueries, Targets


class Denoising(nn.Module):
    """Makes denoising queries from the objects of a batch.

    Args:
        num_classes: K; replacement labels are drawn from all classes.
        embed_dim: width C.
        num_groups: number of denoising groups, and so of queries of each object; 5 by default in the paper, 10 in its
            deformable models. None: computed from `num_queries`.
        num_queries: approximate number of queries of an image, given instead of `num_groups`. Divided by the objects of
            the most crowded image, it gives the number of groups (Group DETR, arXiv 2207.13085, table 3: 100).
        label_noise: probability of replacing a label; the new one may be equal.
        box_noise: largest move of a centre in half box sizes, and largest change of a size in box sizes.
        num_embeddings: rows of the label table; None: K + 1, as released (the last row is never used here).
        indicator: whether the last channel of the content is 1 instead of a channel of the label table, which
            distinguishes denoising from matching queries (section 4.5); the selection then needs its indicator too, 0.
        inverse_sigmoid_eps: clipping constant of `querydet.modeling.boxes.inverse_sigmoid`.

    Raises:
        ValueError: when a number is out of its range, or not exactly one of num_groups and num_queries is given.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        embed_dim: int = 256,
        num_groups: int | None = 5,
        num_queries: int | None = None,
        label_noise: float = 0.2,
        box_noise: float = 0.4,
        num_embeddings: int | None = None,
        indicator: bool = True,
        inverse_sigmoid_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        if (num_groups is None) == (num_queries is None):
            raise ValueError(
                "give num_groups (always so many) or num_queries (fewer groups for more crowded images) and let the "
                f"other be None; found {num_groups} and {num_queries}"
            )
        given = num_queries if num_groups is None else num_groups
        assert given is not None
        if given < 1 or not 0 <= label_noise <= 1 or box_noise < 0:
            raise ValueError(
                "num_groups or num_queries must be at least 1, label_noise in [0, 1] and box_noise not negative; found "
                f"{given}, {label_noise} and {box_noise}"
            )
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.fixed_groups = num_groups
        self.num_queries = num_queries
        self.label_noise = label_noise
        self.box_noise = box_noise
        self.indicator = indicator
        self.inverse_sigmoid_eps = inverse_sigmoid_eps
        self.label_embed = make_label_table(num_classes, num_embeddings, embed_dim - indicator)

    def groups_for(self, max_objects: int) -> int:
        """Return the number of groups when the most crowded image has `max_objects`."""
        if self.num_queries is None:
            assert self.fixed_groups is not None
            return self.fixed_groups
        return max(1, self.num_queries // max(1, max_objects))

    def forward(self, targets: Targets, draws: NoiseDraws | None = None) -> tuple[InitialQueries, ...]:
        """Make the denoising queries of a batch, which see the primary group.

        Args:
            targets: the objects of the batch; without any, there are no queries.
            draws: random numbers of the noise; None: drawn from `targets.seeds`.

        Returns:
            One query group of `max_objects * num_groups` queries, whose blocks are the denoising groups: object j has
            slot `g * max_objects + j` in group g. Unfilled slots have zero content and a box of half the image; they
            are visible in their group and have no loss.
        """
        num_groups = self.groups_for(targets.max_objects)
        if draws is None:
            draws = self.draw(targets, num_groups)
        slots = ObjectSlots.arrange(targets, num_groups)
        content = self.label_embed(noise_labels(targets, draws, self.label_noise))
        if self.indicator:
            content = F.pad(content, (0, 1), value=1.0)
        boxes = self.noise_boxes(torch.cat(targets.boxes), draws)
        boxes = keep_off_the_border(boxes, self.inverse_sigmoid_eps)
        known = tuple(
            Assignment(queries=queries, objects=objects, ignored=ignored)
            for (queries, objects), ignored in zip(slots.pairs(), slots.unfilled(), strict=True)
        )
        return (
            InitialQueries(
                group=slots.query_group(num_groups, known),
                content=slots.fill(content, unfilled=0.0),
                boxes=slots.fill(boxes, unfilled=0.5),
            ),
        )

    def noise_boxes(self, boxes: Tensor, draws: NoiseDraws) -> Tensor:
        """Move and resize the boxes (N, 4) of all objects: (R, N, 4), with coordinates clipped to [0, 1]."""
        size = boxes[:, 2:]
        extent = torch.cat([size / 2, size], dim=-1) * self.box_noise
        return (boxes + draws.signs * draws.magnitudes * extent).clamp(0, 1)

    def draw(self, targets: Targets, repetitions: int) -> NoiseDraws:
        """Draw all noise, that of an image from its seed only."""
        return draw_noise(targets, repetitions, self.num_classes)
