"""How often each object is repeated among the denoising queries: in how many groups, decided by whose objects.

By DINO's rule (arXiv 2203.03605, appendix D.1) the objects of an image decide the number of its groups, so that all
images have about equally many denoising queries. What an image is trained on does not depend on the rest of its batch.
In released code the most crowded image of the batch of a process decides for all of its images.
"""

from collections.abc import Sequence
from typing import Protocol

from querydet.modeling.queries.object_slots import ImageSlots


class DenoisingGroups(Protocol):
    """Slot `groups` of a denoising part."""

    def share(self, counts: Sequence[int], copies: int) -> tuple[ImageSlots, ...]:
        """Return the slots of the copies of each image's objects.

        Args:
            counts: number of objects of each image.
            copies: of each object in a group; 2: a positive and a negative one.
        """


class GroupsPerImage:
    """As many groups of each image as give it about `num_queries` queries: fewer for more objects (DINO, D.1).

    Args:
        num_queries: positive queries of an image, divided by the number of its objects and rounded down: its groups.
        max_objects: most objects of a group; of more, so many are chosen at random. None: `num_queries`.

    Raises:
        ValueError: a number is less than 1.
    """

    def __init__(self, *, num_queries: int = 100, max_objects: int | None = None) -> None:
        _check(num_queries=num_queries, max_objects=max_objects)
        self.num_queries = num_queries
        self.max_objects = num_queries if max_objects is None else max_objects

    def share(self, counts: Sequence[int], copies: int) -> tuple[ImageSlots, ...]:
        """Return the slots of each image, see `DenoisingGroups`."""
        chosen = [min(count, self.max_objects) for count in counts]
        groups = [max(1, self.num_queries // max(1, own)) for own in chosen]
        return tuple(
            ImageSlots(count, own, copies * number, number, stride=own)
            for count, own, number in zip(counts, chosen, groups, strict=True)
        )


class FixedGroups:
    """Equally many groups of each image (DN-DETR, arXiv 2203.01305, section 4.3).

    Args:
        num_groups: 5 by default in the paper, 10 in its deformable models.
        max_objects: most objects of a group; of more, so many are chosen at random. No image of COCO has more than 100.

    Raises:
        ValueError: a number is less than 1.
    """

    def __init__(self, *, num_groups: int = 5, max_objects: int = 100) -> None:
        _check(num_groups=num_groups, max_objects=max_objects)
        self.num_groups, self.max_objects = num_groups, max_objects

    def share(self, counts: Sequence[int], copies: int) -> tuple[ImageSlots, ...]:
        """Return the slots of each image, see `DenoisingGroups`."""
        chosen = [min(count, self.max_objects) for count in counts]
        return tuple(
            ImageSlots(count, own, copies * self.num_groups, self.num_groups, stride=own)
            for count, own in zip(counts, chosen, strict=True)
        )


class GroupsPerProcess:
    """The groups of the most crowded image in all images of a process's batch (released code of DN-DETR and DINO).

    Images with fewer objects have unfilled slots, which the queries of their group see. The more images a process has,
    the fewer queries an image gets, and losses depend on how a batch is split among processes.

    Args:
        num_queries: positive queries of an image, divided by the objects of the most crowded one; or
        num_groups: the number of groups.
        min_dynamic: where `2 * num_queries` is less than this, it is the number of *groups*, however crowded the images
            are (released code of DINO: 100). 0: never.
        max_objects: most objects of a group; of more, so many are chosen at random. None: any number, as released.

    Raises:
        ValueError: a number is less than 1, or not exactly one of num_queries and num_groups is given.
    """

    def __init__(
        self,
        *,
        num_queries: int | None = None,
        num_groups: int | None = None,
        min_dynamic: int = 0,
        max_objects: int | None = None,
    ) -> None:
        if (num_groups is None) == (num_queries is None):
            raise ValueError(
                "give num_groups (always so many) or num_queries (fewer groups for more crowded images) and let the "
                f"other be None; found {num_groups} and {num_queries}"
            )
        _check(num_queries=num_queries, num_groups=num_groups, max_objects=max_objects)
        self.num_queries, self.num_groups = num_queries, num_groups
        self.min_dynamic, self.max_objects = min_dynamic, max_objects

    def share(self, counts: Sequence[int], copies: int) -> tuple[ImageSlots, ...]:
        """Return the slots of each image, see `DenoisingGroups`."""
        chosen = [count if self.max_objects is None else min(count, self.max_objects) for count in counts]
        most = max(chosen, default=0)
        groups = self.groups_for(most)
        return tuple(
            ImageSlots(count, own, copies * groups, groups, stride=most)
            for count, own in zip(counts, chosen, strict=True)
        )

    def groups_for(self, most: int) -> int:
        """Return the number of groups when the most crowded image has so many objects."""
        if self.num_groups is not None:
            return self.num_groups
        assert self.num_queries is not None
        if most > 0 and 2 * self.num_queries < self.min_dynamic:
            return 2 * self.num_queries
        return max(1, self.num_queries // most) if most else 1


def _check(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, found {number}")
