"""How many queries each object is matched with, by layer and image."""

from collections.abc import Sequence

from querydet.structures import PredictionSet


class Copies:
    """The number of copies of each object in the matching of a layer.

    Args:
        counts: copies in every layer, or one number for each layer of the stage. Of the last one should be 1 where
            nothing suppresses duplicates at inference (the mixed matching of Align-DETR).
        max_part: largest part of the queries that the objects of an image may take, with the repeats of the group. A
            crowded image has fewer copies, but at least one; 0.5 in Align-DETR. None: no limit.
        carry_over: whether a crowded image lowers the copies of all later images of the batch too, even to none
            (released code of Align-DETR).

    Raises:
        ValueError: for copies that are no positive numbers, a part out of its range, or carry_over without max_part.
    """

    def __init__(
        self, counts: int | Sequence[int] = 1, *, max_part: float | None = None, carry_over: bool = False
    ) -> None:
        numbers = list(counts) if isinstance(counts, Sequence) else [counts]
        if not numbers or any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"copies must be numbers of at least 1, or a list of them, found {counts!r}")
        self.counts = counts if isinstance(counts, int) else tuple(numbers)
        if max_part is not None and not 0 < max_part <= 1:
            raise ValueError(f"max_part must lie in (0, 1], or be None; found {max_part}")
        if carry_over and max_part is None:
            raise ValueError("carry_over lowers copies where max_part does: set max_part")
        self.max_part, self.carry_over = max_part, carry_over

    @property
    def num_layers(self) -> int | None:
        """The number of layers that it has copies for; None: any."""
        return None if isinstance(self.counts, int) else len(self.counts)

    @property
    def of_last_layer(self) -> int:
        """The number of copies in the last layer."""
        return self.counts if isinstance(self.counts, int) else self.counts[-1]

    def of_images(self, predictions: PredictionSet, num_objects: Sequence[int]) -> list[int]:
        """Return the number of copies for each image of a set, times the repeats of its group.

        Args:
            predictions: the set, of which the layer and the shapes are read.
            num_objects: T of each image.
        """
        copies = self.counts if isinstance(self.counts, int) else self.counts[predictions.layer]
        repeats, found = predictions.group.target_repeats, []
        for count in num_objects:
            limited = self._limit(copies, predictions.boxes.shape[1], count * repeats)
            copies = limited if self.carry_over else copies
            found.append(limited * repeats)
        return found

    def _limit(self, copies: int, num_queries: int, num_objects: int) -> int:
        if self.max_part is None or not num_objects:
            return copies
        return max(min(copies, int(self.max_part * num_queries / num_objects)), 0 if self.carry_over else 1)
