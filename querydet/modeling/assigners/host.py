"""Assigners that decide on the host, and how a training step waits for the device once for all of them.

The device *computes*: costs of pairs, best queries, whatever has a shape that is known beforehand. The results of a
step, for all rules, layers, groups and images, are copied to the host together. There the assigners *assign*, and the
pairs of all of them go back together, which nobody waits for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from querydet.parts import Assigner, BatchedAssigner
from querydet.structures import Assignment, PredictionSet, Targets
from querydet.utils.transfer import send, to_host


class HostAssigner(ABC):
    """An assigner in two steps (`querydet.parts.BatchedAssigner`). Called, it takes both for one prediction set."""

    @abstractmethod
    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """Compute what the assignment needs, on the device and without waiting for it.

        Returns:
            Any number of tensors of any shapes and types.
        """

    @abstractmethod
    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Return the assignments of every prediction set and image, on the host.

        Args:
            computed: the result of `compute` for the same predictions, on the host.
            predictions: sets on the device, whose shapes and groups may be read here and whose numbers may not.
            targets: objects, to which the same applies.
        """

    @torch.no_grad()
    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        """Assign the queries of each image of one set."""
        (assignments,) = assign_all([Request(self, (predictions,), targets)])[0]
        return assignments


def group_by_shape(predictions: Sequence[PredictionSet]) -> list[list[int]]:
    """Group the indices of sets that can be computed together: as many queries, and as many target repeats."""
    runs: dict[tuple[int, int], list[int]] = {}
    for index, prediction_set in enumerate(predictions):
        runs.setdefault((prediction_set.boxes.shape[1], prediction_set.group.target_repeats), []).append(index)
    return list(runs.values())


@dataclass(frozen=True, slots=True)
class Request:
    """Prediction sets that an assigner is to assign."""

    assigner: Assigner
    predictions: tuple[PredictionSet, ...]
    targets: Targets

    def compute(self) -> tuple[Tensor, ...]:
        """Return what is to be copied to the host; nothing for an assigner in one step."""
        if isinstance(self.assigner, BatchedAssigner):
            return self.assigner.compute(self.predictions, self.targets)
        return ()

    def assign(self, computed: Sequence[Tensor]) -> list[tuple[Assignment, ...]]:
        """Return the assignments of every prediction set and image, on any device."""
        if isinstance(self.assigner, BatchedAssigner):
            return self.assigner.assign(computed, self.predictions, self.targets)
        return [self.assigner(prediction_set, self.targets) for prediction_set in self.predictions]


@torch.no_grad()
def assign_all(
    requests: Sequence[Request], extra: Tensor | None = None, check: Callable[[Tensor], None] | None = None
) -> list[list[tuple[Assignment, ...]]]:
    """Assign all prediction sets of a step.

    Args:
        requests: the sets and their assigners.
        extra: a further tensor that the host reads, copied with the rest.
        check: called with it, before anything is assigned.

    Returns:
        For each request, and each of its sets, the assignment of each image, on the device of the predictions.
    """
    computed = [request.compute() for request in requests]
    flat = [tensor for tensors in computed for tensor in tensors]
    host = to_host([*flat] if extra is None else [extra, *flat])
    if extra is not None:
        checked, *host = host
        if check is not None:
            check(checked)
    remaining = iter(host)
    assigned = [
        request.assign([next(remaining) for _ in tensors]) for request, tensors in zip(requests, computed, strict=True)
    ]
    return _to_device(assigned, requests[0].predictions[0].logits.device) if requests else []


def _to_device(
    assigned: list[list[tuple[Assignment, ...]]], device: torch.device
) -> list[list[tuple[Assignment, ...]]]:
    """Move all index vectors that are on the host, in one copy."""
    vectors = [
        vector
        for sets in assigned
        for images in sets
        for pairs in images
        for vector in (pairs.queries, pairs.objects)
        if vector.device != device
    ]
    if not vectors:
        return assigned
    moved = iter(send(torch.cat(vectors), device).split([len(vector) for vector in vectors]))

    def move(pairs: Assignment) -> Assignment:
        queries, objects = (
            vector if vector.device == device else next(moved) for vector in (pairs.queries, pairs.objects)
        )
        ignored = None if pairs.ignored is None else pairs.ignored.to(device)
        return Assignment(queries=queries, objects=objects, ignored=ignored)

    return [[tuple(map(move, images)) for images in sets] for sets in assigned]
