"""Noised copies of the objects of a batch, and their slots among the denoising queries, which every denoising uses.

Denoising queries are noised copies of objects (DN-DETR, arXiv 2203.01305, section 4.3). Every object is repeated R
times. Repetition r of object j of an image has slot `r * max_objects + j` among the denoising queries of that image,
where `max_objects` is the number of objects of the most crowded image; others have unfilled slots. A batch has N
objects.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from querydet.structures import PRIMARY, Assignment, QueryGroup, Role, Targets
from querydet.utils.transfer import send


@dataclass(frozen=True, slots=True)
class NoiseDraws:
    """The random numbers of a step, for R repetitions of the N objects of the batch."""

    replace: Tensor  # (R, N) in [0, 1); the label is replaced where this is less than the probability
    labels: Tensor  # (R, N) int64, the replacements
    signs: Tensor  # (R, N, 4), -1 or 1: the direction in which each coordinate of the box moves
    magnitudes: Tensor  # (R, N, 4) in [0, 1): the distance, in parts of the largest one


def draw_noise(targets: Targets, repetitions: int, num_classes: int) -> NoiseDraws:
    """Draw all noise on the CPU, image by image.

    The noise of an image depends on its seed only: not on the other images of the batch, the number of processes or the
    device.

    Args:
        targets: the objects of the batch.
        repetitions: R.
        num_classes: K; replacement labels are drawn from all classes.
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
    """Make the table of the contents that copies start from, by label.

    Args:
        num_classes: K.
        num_embeddings: number of rows; None: K + 1, as released.
        width: number of channels.

    Raises:
        ValueError: when there are fewer rows than classes.
    """
    rows = num_classes + 1 if num_embeddings is None else num_embeddings
    if rows < num_classes:
        raise ValueError(f"num_embeddings is {rows}, too few for {num_classes} classes")
    return nn.Embedding(rows, width)


def noise_labels(targets: Targets, draws: NoiseDraws, probability: float) -> Tensor:
    """Return the labels (R, N) of the copies, replaced with the given probability; the new label may be equal."""
    return torch.where(draws.replace < probability, draws.labels, torch.cat(targets.labels))


def keep_off_the_border(boxes: Tensor, eps: float) -> Tensor:
    """Convert boxes to logit space and back, which clips them as the refinement of the decoder does.

    The result is the sigmoid of `querydet.modeling.boxes.inverse_sigmoid`, without its logarithm and exponential: on
    some processors (AVX-512) these round the last elements of a tensor differently from the first. A sum and a quotient
    round all elements equally, so that the noise of an image does not depend on its place in the batch.
    """
    boxes = boxes.clamp(min=0, max=1)
    inside = boxes.clamp(min=eps)
    return inside / (inside + (1 - boxes).clamp(min=eps))


@dataclass(frozen=True, slots=True)
class ObjectSlots:
    """The slots of all copies among the denoising queries of their images."""

    slot: Tensor  # (R, N) int64, slot of each repetition of each object
    image: Tensor  # (N,) int64, image of each object
    index: Tensor  # (N,) int64, index of each object within its image
    counts: tuple[int, ...]  # number of objects of each image
    total: int  # number of slots of an image, R * max_objects

    @classmethod
    def arrange(cls, targets: Targets, repetitions: int) -> "ObjectSlots":
        """Arrange R repetitions of all objects."""
        device, counts = targets.boxes[0].device, targets.counts
        images = [image for image, count in enumerate(counts) for _ in range(count)]
        indices = [index for count in counts for index in range(count)]
        image, index = (send(torch.tensor(values, dtype=torch.int64), device) for values in (images, indices))
        slot = torch.arange(repetitions, device=device)[:, None] * targets.max_objects + index
        return cls(slot, image, index, tuple(counts), repetitions * targets.max_objects)

    def fill(self, values: Tensor, unfilled: float) -> Tensor:
        """Put n values of each copy, (R, N, n), into the slots (B, total, n), and one number into unfilled slots."""
        slots = values.new_full((len(self.counts), self.total, values.shape[-1]), unfilled)
        return slots.index_put((self.image.expand_as(self.slot), self.slot), values)

    def pairs(self, every: int = 1) -> list[tuple[Tensor, Tensor]]:
        """Return the queries and objects of the pairs of each image, in the order of the repetitions.

        Args:
            every: step between the repetitions that are paired; 2: every second one.
        """
        slots = self.slot[::every].split(self.counts, 1)
        objects = self.index.split(self.counts)
        return [
            (queries.flatten(), image_objects.expand_as(queries).flatten())
            for queries, image_objects in zip(slots, objects, strict=True)
        ]

    def unfilled(self) -> Tensor:
        """Return (B, total) bool, True for unfilled slots."""
        filled = torch.zeros(len(self.counts), self.total, dtype=torch.bool, device=self.slot.device)
        filled[self.image.expand_as(self.slot), self.slot] = True
        return ~filled

    def query_group(self, num_groups: int, known: tuple[Assignment, ...]) -> QueryGroup:
        """Return the query group of all slots, which sees the primary group.

        Args:
            num_groups: number of denoising groups, its blocks, which do not see each other; divides the losses.
            known: the assignment of each image.
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
