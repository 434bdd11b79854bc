"""Contrastive denoising: extra training queries that start from noised objects (DINO, arXiv 2203.03605, section 3.3).

Every object gives pairs of queries. The positive one starts from a slightly moved box and has to find the object; the
negative one starts from a box moved further and has to be rejected as background. Pairs are repeated in several groups
that do not see each other. Differences between paper and released code, of which the code's side is taken here: the
groups depend on the most crowded image of the batch; a label is replaced with half the stated probability, and the new
one may be the old one; a negative box has *all four* corner shifts beyond those of any positive.
"""

import torch
from torch import Tensor, nn

from querydet.modeling.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from querydet.modeling.queries.noised_objects import (
    NoiseDraws,
    ObjectSlots,
    draw_noise,
    keep_off_the_border,
    make_label_table,
    noise_labels,
)
from querydet.structures import Assignment, InitialQueries, Targets


class ContrastiveDenoising(nn.Module):
    """Makes denoising queries from the objects of a batch.

    Args:
        num_classes: K; replacement labels are drawn from it.
        embed_dim: width C.
        num_queries: about how many positive queries an image gets. Twice this number, divided by twice the objects of
            the most crowded image, gives the number of groups.
        label_noise: stated ratio of replaced labels; half of it is the probability.
        box_noise: a positive moves each side by up to this times half the box's size, a negative by one to two times.
        num_embeddings: rows of the label table; None: K + 1, as released (the last row is never used).
        min_dynamic: below this many queries (2 * num_queries), num_queries counts *groups* instead: 2 * num_queries of
            them, however crowded (released code of DINO: 100). 0: never.
        inverse_sigmoid_eps: see `querydet.modeling.boxes.inverse_sigmoid`.

    Raises:
        ValueError: when a number is out of its range.
    """

    contrastive = True

    def __init__(
        self,
        *,
        num_classes: int,
        embed_dim: int = 256,
        num_queries: int = 100,
        label_noise: float = 0.5,
        box_noise: float = 1.0,
        num_embeddings: int | None = None,
        min_dynamic: int = 100,
        inverse_sigmoid_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        if num_queries < 1 or not 0 <= label_noise <= 1 or box_noise < 0:
            raise ValueError(
                "num_queries must be at least 1, label_noise in [0, 1] and box_noise not negative; found "
                f"{num_queries}, {label_noise} and {box_noise}"
            )
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.num_queries = num_queries
        self.label_noise = label_noise
        self.box_noise = box_noise
        self.min_dynamic = min_dynamic
        self.inverse_sigmoid_eps = inverse_sigmoid_eps
        self.label_embed = make_label_table(num_classes, num_embeddings, embed_dim)

    def groups_for(self, max_objects: int) -> int:
        """How often each object is repeated as a pair, when the most crowded image has `max_objects`."""
        rows = 2 * self.num_queries
        if max_objects == 0:
            return 1
        return rows if rows < self.min_dynamic else max(1, rows // (2 * max_objects))

    def forward(self, targets: Targets, draws: NoiseDraws | None = None) -> tuple[InitialQueries, ...]:
        """Make the queries of a batch, for the first group of matching queries.

        Args:
            targets: its objects. Without any, the group is empty, and everything downstream runs on zero queries.
            draws: the random numbers; None: drawn from `targets.seeds`.

        Returns:
            `2 * max_objects * num_groups` queries for each image. In repetition r, object j has slot
            `r * max_objects + j`; even repetitions are positive, odd ones negative. Images with fewer objects leave
            slots with zero content and a box of half the image, which stay visible within their group.
        """
        groups = self.groups_for(targets.max_objects)
        if draws is None:
            draws = self.draw(targets, 2 * groups)
        slots = ObjectSlots.arrange(targets, 2 * groups)
        labels = noise_labels(targets, draws, 0.5 * self.label_noise)
        boxes = self.noise_boxes(torch.cat(targets.boxes), draws)
        boxes = keep_off_the_border(boxes, self.inverse_sigmoid_eps)
        known = tuple(Assignment(queries=queries, objects=objects) for queries, objects in slots.pairs(every=2))
        group = slots.query_group(groups, known)
        content = slots.fill(self.label_embed(labels), unfilled=0.0)
        return (InitialQueries(group=group, content=content, boxes=slots.fill(boxes, unfilled=0.5)),)

    def noise_boxes(self, boxes: Tensor, draws: NoiseDraws) -> Tensor:
        """Move the sides of boxes (N, 4) as drawn, giving (R, N, 4); negatives may come out turned inside out."""
        magnitudes = draws.magnitudes.clone()
        magnitudes[1::2] += 1
        half_size = boxes[:, 2:].repeat(1, 2) / 2
        moved = cxcywh_to_xyxy(boxes) + magnitudes * draws.signs * half_size * self.box_noise
        return xyxy_to_cxcywh(moved.clamp(0, 1))

    def draw(self, targets: Targets, repetitions: int) -> NoiseDraws:
        """Draw all noise; an image's depends on its seed alone."""
        return draw_noise(targets, repetitions, self.num_classes)
