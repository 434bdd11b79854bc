"""The prediction sets of a supervision rule side by side, so that each loss term is computed once for all of them.

Letters are those of `querydet.structures`; n prediction sets together have N queries, or N assigned pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from querydet.modeling.masks.pairs import pair_masks
from querydet.parts import PairWeights
from querydet.structures import Assignment, JoinedPredictions, MatchedPairs, PredictionSet, Targets
from querydet.utils.transfer import send


@dataclass(frozen=True, slots=True)
class JoinedSets:
    """Prediction sets in the order of their loss names, joined, with their assigned pairs."""

    sets: tuple[PredictionSet, ...]
    predictions: JoinedPredictions
    pairs: MatchedPairs
    suffixes: dict[str, int]  # ends of the names of losses, and the number of sets that share each

    def sum_sets(self, values: Tensor) -> Tensor | None:
        """Sum up a loss of each query (B, N), or of each pair (N,), times its weights, over every set, (n,).

        A pair has its own weight and that of its query. None for a loss of another shape.
        """
        pairs, of_queries = self.pairs, self.pairs.query_weights
        if values.shape == self.predictions.logits.shape[:2]:
            weighted = values if of_queries is None else values * of_queries
            return sum_parts(weighted.sum(0), self.predictions.sizes)
        if values.shape == pairs.query.shape:
            weighted = values if of_queries is None else values * of_queries[pairs.image, pairs.query]
            return sum_parts(weighted if pairs.weights is None else weighted * pairs.weights, pairs.counts)
        return None

    def sum_suffixes(self, values: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each suffix with the sum of the values of its sets, from the values (n,) of all sets."""
        return zip(self.suffixes, sum_parts(values, list(self.suffixes.values())).unbind(), strict=True)


def join_by_suffix(
    predictions: Sequence[PredictionSet],
    assigned: Sequence[tuple[Assignment, ...]],
    targets: Targets,
    pair_weights: PairWeights | None = None,
    with_masks: bool = False,
) -> JoinedSets:
    """Join prediction sets so that sets whose losses share a name are neighbours.

    Args:
        predictions: at least one set.
        assigned: for each set, the assignment of each image.
        targets: the objects of the images.
        pair_weights: weighs the pairs; None: all count once.
        with_masks: whether the pairs bring their masks, which all sets then have.
    """
    by_suffix: dict[str, list[int]] = {}
    for index, prediction_set in enumerate(predictions):
        by_suffix.setdefault(prediction_set.suffix, []).append(index)
    order = [index for indices in by_suffix.values() for index in indices]
    sets = tuple(predictions[index] for index in order)
    in_order = [assigned[index] for index in order]
    joined, pairs = join(sets, in_order, targets)
    if with_masks:
        pairs = replace(pairs, masks=pair_masks(sets, in_order, targets))
    if pair_weights is not None:
        pairs = replace(pairs, weights=pair_weights(joined, pairs))
    return JoinedSets(sets, joined, pairs, {suffix: len(indices) for suffix, indices in by_suffix.items()})


def join(
    predictions: Sequence[PredictionSet], assigned: Sequence[tuple[Assignment, ...]], targets: Targets
) -> tuple[JoinedPredictions, MatchedPairs]:
    """Join prediction sets of the same images and classes, and their assignments.

    Args:
        predictions: at least one set.
        assigned: for each set, the assignment of each image.
        targets: the objects of the images.
    """
    sizes = tuple(prediction_set.boxes.shape[1] for prediction_set in predictions)
    joined = JoinedPredictions(
        logits=_cat([prediction_set.logits for prediction_set in predictions]),
        boxes=_cat([prediction_set.boxes for prediction_set in predictions]),
        sizes=sizes,
    )
    assignments = [assignment for images in assigned for assignment in images]
    total = sum(targets.counts)
    image, first_query, first_object, of_set = _expand(
        [
            (image, query, start, index * total)
            for index, (query, images) in enumerate(zip(accumulate(sizes, initial=0), assigned, strict=False))
            for image, (_, start) in enumerate(zip(images, accumulate(targets.counts, initial=0), strict=False))
        ],
        [len(assignment.queries) for assignment in assignments],
        joined.logits.device,
    )
    objects = torch.cat([assignment.objects for assignment in assignments]) + first_object
    pairs = MatchedPairs(
        image=image,
        query=torch.cat([assignment.queries for assignment in assignments]) + first_query,
        object=objects + of_set,
        labels=torch.cat(targets.labels)[objects],
        boxes=torch.cat(targets.boxes)[objects],
        counts=tuple(sum(len(assignment.queries) for assignment in images) for images in assigned),
        query_weights=_join_weights(assigned, sizes),
        targets=targets,
    )
    return joined, pairs


def _cat(tensors: list[Tensor]) -> Tensor:
    """Concatenate the tensors (B, Q, ...) of all sets; that of a single set is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, 1)


def _expand(rows: list[tuple[int, int, int, int]], lengths: list[int], device: torch.device) -> tuple[Tensor, ...]:
    """Repeat four numbers of each assignment for each of its pairs, on the host, and send all of them in one copy."""
    numbers = torch.tensor(rows, dtype=torch.int64).view(-1, 4)
    return send(numbers.repeat_interleave(torch.tensor(lengths), 0).T.contiguous(), device).unbind()


def _join_weights(assigned: Sequence[tuple[Assignment, ...]], sizes: Sequence[int]) -> Tensor | None:
    """Join the weights (B, Q) of the queries of all sets; None where no set has some."""
    weights = [[assignment.weights for assignment in images] for images in assigned]
    first = next((each for images in weights for each in images if each is not None), None)
    if first is None:
        return None
    return torch.cat(
        [
            torch.stack([first.new_ones(size) if each is None else each for each in images])
            for images, size in zip(weights, sizes, strict=True)
        ],
        1,
    )


def sum_parts(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Sum up consecutive parts of values (N,), of n lengths that add up to N: (n,)."""
    if len(set(lengths)) == 1:
        return values.view(len(lengths), -1).sum(1)
    return torch.stack([part.sum() for part in values.split(list(lengths))])
