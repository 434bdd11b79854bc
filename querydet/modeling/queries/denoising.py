"""Denoising: extra training queries that start from noised objects (DN-DETR, arXiv 2203.01305, section 4.3).

Every object gives one query for each of several groups that do not see each other: an embedding of its label, now and
then of another one, and its box, moved and resized. The query has to find the object. As in the released code, images
with few objects leave slots unfilled, which their group sees and which have no loss.
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
        num_classes: K; replacement labels are drawn from it.
        embed_dim: width C.
        num_groups: how often each object is noised, however crowded its image; 5 by default in the paper, 10 in
            its deformable models. None: as `num_queries` says.
        num_queries: instead of `num_groups`: about how many queries an image gets. Divided by the objects of the most
            crowded image, it gives the number of groups (Group DETR, arXiv 2207.13085, table 3: 100).
        label_noise: probability that a label is replaced; the new one may be the old one.
        box_noise: the centre moves by up to this times half the box's size, the size by up to this times itself.
        num_embeddings: rows of the label table; None: K + 1, as released (the last row is never used here).
        indicator: the last channel of the content is not of the label table but 1, which tells the query from a
            matching one (section 4.5); the selection must then have an indicator, 0, as well.
        inverse_sigmoid_eps: see `querydet.modeling.boxes.inverse_sigmoid`.

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
        amount = num_queries if num_groups is None else num_groups
        assert amount is not None
        if amount < 1 or not 0 <= label_noise <= 1 or box_noise < 0:
            raise ValueError(
                "num_groups or num_queries must be at least 1, label_noise in [0, 1] and box_noise not negative; found "
                f"{amount}, {label_noise} and {box_noise}"
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
        """How often each object is repeated, when the most crowded image has `max_objects`."""
        if self.num_queries is None:
            assert self.fixed_groups is not None
            return self.fixed_groups
        return max(1, self.num_queries // max(1, max_objects))

    def forward(self, targets: Targets, draws: NoiseDraws | None = None) -> tuple[InitialQueries, ...]:
        """Make the queries of a batch, for the first group of matching queries.

        Args:
            targets: its objects. Without any, the group is empty, and everything downstream runs on zero queries.
            draws: the random numbers; None: drawn from `targets.seeds`.

        Returns:
            `max_objects * num_groups` queries for each image; object j has slot `g * max_objects + j` in group g.
            Images with fewer objects leave slots with zero content and a box of half the image, which stay visible
            within their group and have no loss.
        """
        groups = self.groups_for(targets.max_objects)
        if draws is None:
            draws = self.draw(targets, groups)
        slots = ObjectSlots.arrange(targets, groups)
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
                group=slots.query_group(groups, known),
                content=slots.fill(content, unfilled=0.0),
                boxes=slots.fill(boxes, unfilled=0.5),
            ),
        )

    def noise_boxes(self, boxes: Tensor, draws: NoiseDraws) -> Tensor:
        """Move and resize boxes (N, 4) as drawn, giving (R, N, 4) whose numbers are clipped to [0, 1]."""
        size = boxes[:, 2:]
        extent = torch.cat([size / 2, size], dim=-1) * self.box_noise
        return (boxes + draws.signs * draws.magnitudes * extent).clamp(0, 1)

    def draw(self, targets: Targets, repetitions: int) -> NoiseDraws:
        """Draw all noise; an image's depends on its seed alone."""
        return draw_noise(targets, repetitions, self.num_classes)
