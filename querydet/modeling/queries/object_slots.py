"""Where the noised copies of objects lie among the denoising queries, and how much they count.

Repetition r of the j-th chosen object of an image has slot `r * stride + j`, where `stride` is the number of chosen
objects or more. Images with fewer slots than others are padded. A batch has N copies of objects.

*Weights.* The losses of an image are divided by the number of its groups, so that each object counts once, as in the
losses of matching queries, however many groups there are. Where only some objects of an image are chosen, they count
for all of them. Padding has no loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from querydet.structures import PRIMARY, Assignment, Blocks, QueryGroup, Role
from querydet.utils.transfer import send


@dataclass(frozen=True, slots=True)
class ImageSlots:
    """The slots of the copies of an image's objects."""

    objects: int  # of the image
    chosen: int  # of these, the objects that are noised
    repetitions: int  # of each chosen object
    groups: int
    stride: int  # slots of a repetition

    @property
    def total(self) -> int:
        """Number of slots."""
        return self.repetitions * self.stride

    @property
    def slots(self) -> Tensor:
        """(repetitions, chosen) int64, the slot of each copy."""
        return torch.arange(self.repetitions)[:, None] * self.stride + torch.arange(self.chosen)

    @property
    def weight(self) -> float:
        """Factor of the losses of each copy, with which the copies count as often as there are objects."""
        return (self.objects / self.chosen if self.chosen else 1.0) / self.groups


@dataclass(frozen=True, slots=True)
class ObjectCopies:
    """The copies of all objects of a batch, image by image, repetition by repetition."""

    image: Tensor  # (N,) int64
    object: Tensor  # (N,) int64, among the objects of all images
    slot: Tensor  # (N,) int64, among the slots of the image
    repetition: Tensor  # (N,) int64
    shares: tuple[ImageSlots, ...]  # of each image

    @classmethod
    def arrange(
        cls, shares: tuple[ImageSlots, ...], chosen: Sequence[Tensor | None], device: torch.device
    ) -> "ObjectCopies":
        """Arrange the copies on the host, and send them to a device.

        Args:
            shares: the slots of each image.
            chosen: for each image, indices of the objects that are noised; None: the first ones.
            device: where the objects are.
        """
        rows, start = [], 0
        for image, (share, own) in enumerate(zip(shares, chosen, strict=True)):
            slots = share.slots
            objects = (torch.arange(share.chosen) if own is None else own.cpu()) + start
            repetitions = torch.arange(share.repetitions)[:, None].expand_as(slots)
            rows.append(torch.stack([torch.full_like(slots, image), objects.expand_as(slots), slots, repetitions]))
            start += share.objects
        image_of, object_of, slot, repetition = send(torch.cat([row.flatten(1) for row in rows], 1), device).unbind()
        return cls(image_of, object_of, slot, repetition, shares)

    @property
    def total(self) -> int:
        """Number of slots of each image, padding included."""
        return max(share.total for share in self.shares)

    def fill(self, values: Tensor, unfilled: float) -> Tensor:
        """Put values of each copy, (N, n), into the slots (B, total, n), and one number into the others."""
        slots = values.new_full((len(self.shares), self.total, values.shape[-1]), unfilled)
        return slots.index_put((self.image, self.slot), values)

    def query_group(self, positive_every: int = 1, unfilled_background: bool = False) -> QueryGroup:
        """Return the query group of all slots, which sees the primary group.

        Args:
            positive_every: step between the repetitions that have to reconstruct their object.
            unfilled_background: whether unfilled slots between the copies are background; False: they have no loss.
        """
        return QueryGroup(
            name="denoising",
            start=0,
            stop=self.total,
            role=Role.DENOISING,
            visible_groups=(PRIMARY,),
            blocks=tuple(Blocks(share.groups, share.total // share.groups) for share in self.shares),
            loss_suffix="dn",
            known=self._known(positive_every, self._weights(unfilled_background)),
        )

    def _known(self, positive_every: int, weights: Tensor) -> tuple[Assignment, ...]:
        known, start = [], 0
        lengths = [share.repetitions * share.chosen for share in self.shares]
        for queries, objects, share, own in zip(
            self.slot.split(lengths), self.object.split(lengths), self.shares, weights, strict=True
        ):
            shape = (share.repetitions, share.chosen)
            queries, objects = (values.view(shape)[::positive_every].flatten() for values in (queries, objects - start))
            known.append(Assignment(queries=queries, objects=objects, weights=own))
            start += share.objects
        return tuple(known)

    def _weights(self, unfilled_background: bool) -> Tensor:
        """Return the weights (B, total) of the losses of all slots."""
        weights = torch.zeros(len(self.shares), self.total)
        for row, share in zip(weights, self.shares, strict=True):
            row[: share.total] = share.weight
            if not unfilled_background:
                row[: share.total].view(share.repetitions, share.stride)[:, share.chosen :] = 0
        return send(weights, self.slot.device)
