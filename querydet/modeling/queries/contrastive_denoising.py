"""Contrastive denoising: extra queries for training from noised objects (DINO, arXiv 2203.03605, section 3.3).

Two queries are made of every object. The positive one starts from a slightly moved box and has to reconstruct the
object; the negative one starts from a box that is moved further and has to be rejected as background. Such pairs are
repeated in several groups, which do not see each other. Where paper and released code differ, this is the code: the
number of groups depends on the most crowded image of the batch; a label is replaced with half the stated probability,
and the new one may be equal; *all four* sides of a negative box move further than those of any positive box.
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
        num_classes: K; replacement labels are drawn from all classes.
        embed_dim: width C.
        num_queries: approximate number of positive queries of an image. Divided by the objects of the most crowded
            image, it gives the number of groups.
        label_noise: stated ratio of replaced labels; the probability of replacing one is half of it.
        box_noise: largest move of a side of a positive box, in half box sizes; sides of a negative box move by one to
            two times as much.
        num_embeddings: rows of the label table; None: K + 1, as released (the last row is never used).
        min_dynamic: where `2 * num_queries` is less than this, it is the number of *groups* instead, however crowded
            the images are (released code of DINO: 100). 0: never.
        inverse_sigmoid_eps: clipping constant of `querydet.modeling.boxes.inverse_sigmoid`.

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
        """Return the number of groups when the most crowded image has `max_objects`."""
        total = 2 * self.num_queries
        if max_objects == 0:
            return 1
        return total if total < self.min_dynamic else max(1, total // (2 * max_objects))

    def forward(self, targets: Targets, draws: NoiseDraws | None = None) -> tuple[InitialQueries, ...]:
        """Make the denoising queries of a batch, which see the primary group.

        Args:
            targets: the objects of the batch; without any, there are no queries.
            draws: random numbers of the noise; None: drawn from `targets.seeds`.

        Returns:
            One query group of `2 * max_objects * num_groups` queries, whose blocks are the denoising groups. Object j
            has slot `r * max_objects + j` in repetition r; even repetitions are positive, odd ones negative. Unfilled
            slots have zero content and a box of half the image; they are visible in their group.
        """
        num_groups = self.groups_for(targets.max_objects)
        if draws is None:
            draws = self.draw(targets, 2 * num_groups)
        slots = ObjectSlots.arrange(targets, 2 * num_groups)
        labels = noise_labels(targets, draws, 0.5 * self.label_noise)
        boxes = self.noise_boxes(torch.cat(targets.boxes), draws)
        boxes = keep_off_the_border(boxes, self.inverse_sigmoid_eps)
        known = tuple(Assignment(queries=queries, objects=objects) for queries, objects in slots.pairs(every=2))
        group = slots.query_group(num_groups, known)
        content = slots.fill(self.label_embed(labels), unfilled=0.0)
        return (InitialQueries(group=group, content=content, boxes=slots.fill(boxes, unfilled=0.5)),)

    def noise_boxes(self, boxes: Tensor, draws: NoiseDraws) -> Tensor:
        """Move the sides of the boxes (N, 4) of all objects: (R, N, 4); sides of negative boxes may pass each other."""
        magnitudes = draws.magnitudes.clone()
        magnitudes[1::2] += 1
        half_size = boxes[:, 2:].repeat(1, 2) / 2
        moved = cxcywh_to_xyxy(boxes) + magnitudes * draws.signs * half_size * self.box_noise
        return xyxy_to_cxcywh(moved.clamp(0, 1))

    def draw(self, targets: Targets, repetitions: int) -> NoiseDraws:
        """Draw all noise, that of an image from its seed only."""
        return draw_noise(targets, repetitions, self.num_classes)
