"""Noised copies of the objects of a batch, which every denoising makes (DN-DETR, arXiv 2203.01305, section 4.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from querydet.modeling.queries.object_slots import ImageSlots, ObjectCopies
from querydet.structures import Targets
from querydet.utils.transfer import send


@dataclass(frozen=True, slots=True)
class NoiseDraws:
    """The random numbers of an image, for R copies of each of n chosen objects, or of N copies of a batch."""

    replace: Tensor  # (R, n) or (N,) in [0, 1); the label is replaced where this is less than the probability
    labels: Tensor  # (R, n) or (N,) int64, the replacements
    signs: Tensor  # (R, n, 4) or (N, 4), -1 or 1: the direction in which each coordinate of the box moves
    magnitudes: Tensor  # (R, n, 4) or (N, 4) in [0, 1): the distance, in parts of the largest one
    chosen: Tensor | None = None  # (n,) int64, indices of the objects of the image; None: the first n


def draw_noise(targets: Targets, shares: Sequence[ImageSlots], num_classes: int) -> list[NoiseDraws]:
    """Draw all noise on the CPU, image by image.

    The noise of an image depends on its seed and its slots only: not on the other images of the batch, the number of
    processes or the device.

    Args:
        targets: the objects of the batch.
        shares: the slots of each image.
        num_classes: K; replacement labels are drawn from all classes.
    """
    return [_draw_image(share, num_classes, seed) for share, seed in zip(shares, targets.seeds, strict=True)]


def _draw_image(share: ImageSlots, num_classes: int, seed: int | None) -> NoiseDraws:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    shape = (share.repetitions, share.chosen)
    chosen = None
    if share.chosen < share.objects:
        chosen = torch.randperm(share.objects, generator=generator)[: share.chosen].sort().values
    return NoiseDraws(
        replace=torch.rand(shape, generator=generator),
        labels=torch.randint(num_classes, shape, generator=generator),
        signs=torch.randint(2, (*shape, 4), generator=generator) * 2.0 - 1.0,
        magnitudes=torch.rand((*shape, 4), generator=generator),
        chosen=chosen,
    )


@dataclass(frozen=True, slots=True)
class NoisedObjects:
    """All copies of the objects of a batch, before noise, and the noise of each."""

    labels: Tensor  # (N,) int64
    boxes: Tensor  # (N, 4)
    draws: NoiseDraws  # of all copies
    copies: ObjectCopies

    @classmethod
    def copy(cls, targets: Targets, shares: tuple[ImageSlots, ...], draws: Sequence[NoiseDraws]) -> "NoisedObjects":
        """Copy the objects of a batch into the slots of each image, with the noise of each image."""
        device = targets.boxes[0].device
        copies = ObjectCopies.arrange(shares, [each.chosen for each in draws], device)
        replace, labels = (
            send(torch.cat([getattr(each, name).flatten() for each in draws]), device) for name in ("replace", "labels")
        )
        signs, magnitudes = (
            send(torch.cat([getattr(each, name).flatten(0, 1) for each in draws]), device)
            for name in ("signs", "magnitudes")
        )
        return cls(
            labels=torch.cat(targets.labels)[copies.object],
            boxes=torch.cat(targets.boxes)[copies.object],
            draws=NoiseDraws(replace, labels, signs, magnitudes),
            copies=copies,
        )

    def noised_labels(self, probability: float) -> Tensor:
        """Return the labels (N,), replaced with the given probability; the new label may be equal."""
        return torch.where(self.draws.replace < probability, self.draws.labels, self.labels)


def check_noise(label_noise: float, box_noise: float) -> None:
    """Raise ValueError for noise out of its range."""
    if not 0 <= label_noise <= 1 or box_noise < 0:
        raise ValueError(f"label_noise must be in [0, 1] and box_noise not negative; found {label_noise}, {box_noise}")


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


def keep_off_the_border(boxes: Tensor, eps: float) -> Tensor:
    """Convert boxes to logit space and back, which clips them as the refinement of the decoder does.

    The result is the sigmoid of `querydet.modeling.boxes.inverse_sigmoid`, without its logarithm and exponential: on
    some processors (AVX-512) these round the last elements of a tensor differently from the first. A sum and a quotient
    round all elements equally, so that the noise of an image does not depend on its place in the batch.
    """
    boxes = boxes.clamp(min=0, max=1)
    inside = boxes.clamp(min=eps)
    return inside / (inside + (1 - boxes).clamp(min=eps))
