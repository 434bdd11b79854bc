"""What every kind of denoising does with the objects of a batch: draw noise for each, and put their copies into slots.

Denoising queries are noised copies of the objects (DN-DETR, arXiv 2203.01305, section 4.3). Every object is repeated R
times; repetition r of object j of an image has slot `r * max_objects + j` among that image's denoising queries, where
`max_objects` is that of the most crowded image. Images with fewer objects leave slots unfilled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from querydet.structures import PRIMARY, Assignment, QueryGroup, Role, Targets
from querydet.utils.transfer import send


@dataclass(frozen=True, slots=True)
class NoiseDraws:
    """Every random number of one step, for R repetitions of the N objects of the batch."""

    replace: Tensor  # (R, N) in [0, 1): the label is replaced where this is low
    labels: Tensor  # (R, N) int64: the replacements
    signs: Tensor  # (R, N, 4): -1 or 1, the direction in which each number of the box moves
    magnitudes: Tensor  # (R, N, 4) in [0, 1): how far


def draw_noise(targets: Targets, repetitions: int, num_classes: int) -> NoiseDraws:
    """Draw all noise on the CPU, image by image.

    An image's noise depends on its seed alone: not on its neighbours in the batch, on the number of processes or on the
    device.

    Args:
        targets: the objects.
        repetitions: R.
        num_classes: K; replacement labels are drawn from it.
    """
    parts = [
        _draw_image(count, repetitions, num_classes, seed)
        for count, seed in zip(targets.counts, targets.seeds, strict=True)
    ]
    device = targets.boxes[0].device
    replace, labels, signs, magnitudes = (send(torch.cat(part, dim=1), device) for part in zip(*parts, strict=True))
    return NoiseDraws(replace=replace, labels=labels, signs=signs, magnitudes=magnitudes)


def _draw_image(
    count: int, repetitions: int, num_classes: int, seed: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    shape = (repetitions, count)
    return (
        torch.rand(shape, generator=generator),
        torch.randint(num_classes, shape, generator=generator),
        torch.randint(2, (*shape, 4), generator=generator) * 2.0 - 1.0,
        torch.rand((*shape, 4), generator=generator),
    )


def make_label_table(num_classes: int, num_embeddings: int | None, width: int) -> nn.Embedding:
    """The table of contents that copies start from, by label.

    Args:
        num_classes: K.
        num_embeddings: rows; None: K + 1, as released.
        width: channels of a content.

    Raises:
        ValueError: when there are fewer rows than classes.
    """
    rows = num_classes + 1 if num_embeddings is None else num_embeddings
    if rows < num_classes:
        raise ValueError(f"num_embeddings is {rows}, too few for {num_classes} classes")
    return nn.Embedding(rows, width)


def noise_labels(targets: Targets, draws: NoiseDraws, probability: float) -> Tensor:
    """Labels (R, N) of the copies: replaced with the given probability, perhaps by the same label."""
    return torch.where(draws.replace < probability, draws.labels, torch.cat(targets.labels))


def keep_off_the_border(boxes: Tensor, eps: float) -> Tensor:
    """Boxes through logit space and back, clipped as the decoder's own steps clip them.

    The sigmoid of `querydet.modeling.boxes.inverse_sigmoid` without its logarithm and exponential, which round
    the last elements of a tensor otherwise than the first ones on some processors (AVX-512). A sum and a quotient round
    the same everywhere, so that the noise of an image does not depend on its place in the batch.
    """
    boxes = boxes.clamp(min=0, max=1)
    inside = boxes.clamp(min=eps)
    return inside / (inside + (1 - boxes).clamp(min=eps))


@dataclass(frozen=True, slots=True)
class ObjectSlots:
    """Where the copies of the objects stand among the denoising queries of their images."""

    slot: Tensor  # (R, N) int64, of repetition r of each object of the batch, within its image
    image: Tensor  # (N,) int64, of each object
    index: Tensor  # (N,) int64, of each object within its image
    counts: tuple[int, ...]  # objects of each image
    total: int  # slots of an image, R * max_objects

    @classmethod
    def arrange(cls, targets: Targets, repetitions: int) -> "ObjectSlots":
        """Slots for so many repetitions of the objects."""
        device, counts = targets.boxes[0].device, targets.counts
        image = torch.tensor([number for number, count in enumerate(counts) for _ in range(count)], dtype=torch.int64)
        index = torch.tensor([number for count in counts for number in range(count)], dtype=torch.int64)
        image, index = send(image, device), send(index, device)
        slot = torch.arange(repetitions, device=device)[:, None] * targets.max_objects + index
        return cls(slot, image, index, tuple(counts), repetitions * targets.max_objects)

    def fill(self, values: Tensor, unfilled: float) -> Tensor:
        """Put values (R, N, n) of the copies into their slots, (B, total, n), and a number into the unfilled ones."""
        slots = values.new_full((len(self.counts), self.total, values.shape[-1]), unfilled)
        return slots.index_put((self.image.expand_as(self.slot), self.slot), values)

    def pairs(self, every: int = 1) -> list[tuple[Tensor, Tensor]]:
        """For each image, the (query, object) pairs of every so-manieth repetition, in the order of the repetitions."""
        slots = self.slot[::every].split(self.counts, 1)
        objects = self.index.split(self.counts)
        return [(rows.flatten(), each.expand_as(rows).flatten()) for rows, each in zip(slots, objects, strict=True)]

    def unfilled(self) -> Tensor:
        """(B, total) bool, True where no copy stands."""
        filled = torch.zeros(len(self.counts), self.total, dtype=torch.bool, device=self.slot.device)
        filled[self.image.expand_as(self.slot), self.slot] = True
        return ~filled

    def query_group(self, num_groups: int, known: tuple[Assignment, ...]) -> QueryGroup:
        """The queries of all slots, which form so many groups that see the primary queries but not each other.

        Args:
            num_groups: how often each object is to be found; the losses are divided by it.
            known: per image, which query belongs to which object.
        """
        return QueryGroup(
            name="denoising",
            start=0,
            stop=self.total,
            role=Role.DENOISING,
            visible_groups=(PRIMARY,),
            block_size=self.total // num_groups,
            loss_divisor=num_groups,
            loss_suffix="dn",
            known=known,
        )
