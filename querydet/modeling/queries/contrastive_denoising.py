"""Contrastive denoising: extra queries for training from noised objects (DINO, arXiv 2203.03605, section 3.3).

Two queries are made of every object. The positive one starts from a slightly moved box and has to reconstruct the
object; the negative one starts from a box that is moved further and has to be rejected as background. Such pairs are
repeated in several groups, which do not see each other. The number of groups is the paper's; the noise is that of the
released code, where they differ: a label is replaced with half the stated probability, and the new one may be equal;
*all four* sides of a negative box move further than those of any positive box.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from querydet.modeling.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from querydet.modeling.queries.denoising_groups import DenoisingGroups, GroupsPerImage
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


class ContrastiveDenoising(nn.Module):
    """Makes denoising queries from the objects of a batch.

    Args:
        num_classes: K; replacement labels are drawn from all classes.
        embed_dim: width C.
        groups: decides in how many groups each object is repeated; None: `GroupsPerImage()`.
        label_noise: stated ratio of replaced labels; the probability of replacing one is half of it.
        box_noise: largest move of a side of a positive box, in half box sizes; sides of a negative box move by one to
            two times as much.
        num_embeddings: rows of the label table; None: K + 1, as released (the last row is never used).
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
        groups: DenoisingGroups | None = None,
        label_noise: float = 0.5,
        box_noise: float = 1.0,
        num_embeddings: int | None = None,
        inverse_sigmoid_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        check_noise(label_noise, box_noise)
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.groups: DenoisingGroups = GroupsPerImage() if groups is None else groups
        self.label_noise = label_noise
        self.box_noise = box_noise
        self.inverse_sigmoid_eps = inverse_sigmoid_eps
        self.label_embed = make_label_table(num_classes, num_embeddings, embed_dim)

    def forward(self, targets: Targets, draws: Sequence[NoiseDraws] | None = None) -> tuple[InitialQueries, ...]:
        """Make the denoising queries of a batch, which see the primary group.

        Args:
            targets: the objects of the batch; without any, there are no queries.
            draws: random numbers of the noise of each image; None: drawn from `targets.seeds`.

        Returns:
            One query group, whose blocks are the denoising groups of each image. The j-th of n objects has slot
            `r * n + j` in repetition r; even repetitions are positive, odd ones negative. Unfilled slots and padding
            have zero content and a box of half the image; unfilled slots are background, and padding has no loss.
        """
        shares = self.groups.share(targets.counts, copies=2)
        made = NoisedObjects.copy(targets, shares, self.draw(targets, shares) if draws is None else draws)
        content = self.label_embed(made.noised_labels(0.5 * self.label_noise))
        negative = made.copies.repetition % 2 == 1
        boxes = keep_off_the_border(self.noise_boxes(made.boxes, made.draws, negative), self.inverse_sigmoid_eps)
        return (
            InitialQueries(
                group=made.copies.query_group(positive_every=2, unfilled_background=True),
                content=made.copies.fill(content, unfilled=0.0),
                boxes=made.copies.fill(boxes, unfilled=0.5),
            ),
        )

    def noise_boxes(self, boxes: Tensor, draws: NoiseDraws, negative: Tensor) -> Tensor:
        """Move the sides of the boxes (N, 4) of N copies; those of negative ones (N,) further, even past each other."""
        magnitudes = draws.magnitudes + negative[:, None]
        half_size = boxes[:, 2:].repeat(1, 2) / 2
        moved = cxcywh_to_xyxy(boxes) + magnitudes * draws.signs * half_size * self.box_noise
        return xyxy_to_cxcywh(moved.clamp(0, 1))

    def draw(self, targets: Targets, shares: Sequence[ImageSlots]) -> list[NoiseDraws]:
        """Draw the noise of each image from its seed only."""
        return draw_noise(targets, shares, self.num_classes)
