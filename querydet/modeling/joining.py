"""Prediction sets of a supervision rule side by side, so that each loss term is computed once for all of them.

Letters are those of `querydet.structures`; n prediction sets have N queries or N pairs together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from querydet.structures import Assignment, JoinedPredictions, MatchedPairs, PredictionSet, Targets
from querydet.utils.transfer import send


@dataclass(frozen=True, slots=True)
class JoinedSets:
    """Prediction sets in the order of their loss names, joined, with their assigned pairs."""

    sets: tuple[PredictionSet, ...]
    predictions: JoinedPredictions
    pairs: MatchedPairs
    suffixes: dict[str, int]  # ends of the losses' names, and the number of sets that share each

    def sum_sets(self, values: Tensor) -> Tensor | None:
        """Sum up a loss of each query (B, N), or of each pair (N,), over every set: (n,). None for another shape."""
        if values.shape == self.predictions.logits.shape[:2]:
            return sum_parts(values.sum(0), self.predictions.sizes)
        if values.shape == self.pairs.query.shape:
            return sum_parts(values, self.pairs.counts)
        return None

    def sum_suffixes(self, values: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each suffix with the sum of its sets' values, from (n,)."""
        return zip(self.suffixes, sum_parts(values, list(self.suffixes.values())).unbind(), strict=True)


def join_by_suffix(
    predictions: Sequence[PredictionSet], assigned: Sequence[tuple[Assignment, ...]], targets: Targets
) -> JoinedSets:
    """Join prediction sets so that sets whose losses share a name are neighbours.

    Args:
        predictions: at least one set.
        assigned: of each set, the assignment of each image.
        targets: the objects that are assigned.
    """
    by_suffix: dict[str, list[int]] = {}
    for index, prediction_set in enumerate(predictions):
        by_suffix.setdefault(prediction_set.suffix, []).append(index)
    order = [index for indices in by_suffix.values() for index in indices]
    sets = tuple(predictions[index] for index in order)
    joined, pairs = join(sets, [assigned[index] for index in order], targets)
    return JoinedSets(sets, joined, pairs, {suffix: len(indices) for suffix, indices in by_suffix.items()})


def join(
    predictions: Sequence[PredictionSet], assigned: Sequence[tuple[Assignment, ...]], targets: Targets
) -> tuple[JoinedPredictions, MatchedPairs]:
    """Join prediction sets of the same images and classes, and their assignments.

    Args:
        predictions: at least one set.
        assigned: of each set, the assignment of each image.
        targets: the objects that are assigned.
    """
    sizes = tuple(each.boxes.shape[1] for each in predictions)
    joined = JoinedPredictions(
        logits=_cat([each.logits for each in predictions]),
        boxes=_cat([each.boxes for each in predictions]),
        sizes=sizes,
    )
    flat = [each for images in assigned for each in images]
    image, first_query, first_object = _expand(
        [
            (image, query, start)
            for query, images in zip(accumulate(sizes, initial=0), assigned, strict=False)
            for image, (_, start) in enumerate(zip(images, accumulate(targets.counts, initial=0), strict=False))
        ],
        [len(each.queries) for each in flat],
        joined.logits.device,
    )
    objects = torch.cat([each.objects for each in flat]) + first_object
    pairs = MatchedPairs(
        image=image,
        query=torch.cat([each.queries for each in flat]) + first_query,
        labels=torch.cat(targets.labels)[objects],
        boxes=torch.cat(targets.boxes)[objects],
        counts=tuple(sum(len(each.queries) for each in images) for images in assigned),
        ignored=_join_ignored(assigned, sizes),
    )
    return joined, pairs


def _cat(tensors: list[Tensor]) -> Tensor:
    """Concatenate (B, Q, ...) of all sets; a single one is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, 1)


def _expand(rows: list[tuple[int, int, int]], lengths: list[int], device: torch.device) -> tuple[Tensor, ...]:
    """Repeat three numbers of each assignment for each of its pairs, on the host, and send them in one copy."""
    numbers = torch.tensor(rows, dtype=torch.int64).view(-1, 3)
    return send(numbers.repeat_interleave(torch.tensor(lengths), 0).T.contiguous(), device).unbind()


def _join_ignored(assigned: Sequence[tuple[Assignment, ...]], sizes: Sequence[int]) -> Tensor | None:
    masks = [each.ignored for images in assigned for each in images]
    some = next((mask for mask in masks if mask is not None), None)
    if some is None:
        return None
    return torch.cat(
        [
            torch.stack([some.new_zeros(size) if each.ignored is None else each.ignored for each in images])
            for images, size in zip(assigned, sizes, strict=True)
        ],
        1,
    )


def sum_parts(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Sum up consecutive parts of (N,) values: (n,) for n lengths that add up to N."""
    if len(set(lengths)) == 1:
        return values.view(len(lengths), -1).sum(1)
    return torch.stack([part.sum() for part in values.split(list(lengths))])
