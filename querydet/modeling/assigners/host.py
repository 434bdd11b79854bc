"""Assigners that decide on the host, so that a training step waits for the device once for all of them.

The device *computes* costs of pairs, best queries, and everything else whose shape is known beforehand. The results of
a step, for all rules, layers, groups and images, are copied to the host together. There the assigners *assign*, and
the pairs of all of them are copied back together, without waiting.
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
    """An assigner in two steps (`querydet.parts.BatchedAssigner`); a call runs both for one prediction set."""

    @abstractmethod
    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """Compute the input of `assign` on the device, without waiting for it.

        Returns:
            Any number of tensors of any shapes and types.
        """

    @abstractmethod
    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Return the assignment of every prediction set and image, on the host.

        Args:
            computed: the result of `compute` for the same predictions, on the host.
            predictions: prediction sets on the device: shapes and groups may be read here, numbers may not.
            targets: objects on the device, of which only the counts may be read.
        """

    @torch.no_grad()
    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        """Assign the queries of each image of one set."""
        (assignments,) = assign_all([Request(self, (predictions,), targets)])[0]
        return assignments


def group_by_size(predictions: Sequence[PredictionSet]) -> list[list[int]]:
    """Group the indices of sets that can be computed together, those of equal numbers of queries."""
    indices: dict[int, list[int]] = {}
    for index, prediction_set in enumerate(predictions):
        indices.setdefault(prediction_set.boxes.shape[1], []).append(index)
    return list(indices.values())


@dataclass(frozen=True, slots=True)
class Request:
    """An assigner, and the prediction sets of a step that it has to assign."""

    assigner: Assigner
    predictions: tuple[PredictionSet, ...]
    targets: Targets

    def compute(self) -> tuple[Tensor, ...]:
        """Return the tensors that the assigner reads on the host; none for an assigner in one step."""
        if isinstance(self.assigner, BatchedAssigner):
            return self.assigner.compute(self.predictions, self.targets)
        return ()

    def assign(self, computed: Sequence[Tensor]) -> list[tuple[Assignment, ...]]:
        """Return the assignment of every prediction set and image, on any device."""
        if isinstance(self.assigner, BatchedAssigner):
            return self.assigner.assign(computed, self.predictions, self.targets)
        return [self.assigner(prediction_set, self.targets) for prediction_set in self.predictions]


@torch.no_grad()
def assign_all(
    requests: Sequence[Request], extra: Tensor | None = None, check: Callable[[Tensor], None] | None = None
) -> list[list[tuple[Assignment, ...]]]:
    """Assign all prediction sets of a step.

    Args:
        requests: assigners with their prediction sets.
        extra: a further tensor to copy to the host with the others.
        check: function that is called with `extra` on the host, before anything is assigned.

    Returns:
        For each request, and each of its sets, the assignment of each image, on the device of the predictions.
    """
    computed = [request.compute() for request in requests]
    tensors = [tensor for of_request in computed for tensor in of_request]
    on_host = to_host(tensors if extra is None else [extra, *tensors])
    if extra is not None:
        extra_on_host, *on_host = on_host
        if check is not None:
            check(extra_on_host)
    remaining = iter(on_host)
    assigned = [
        request.assign([next(remaining) for _ in of_request])
        for request, of_request in zip(requests, computed, strict=True)
    ]
    return _to_device(assigned, requests[0].predictions[0].logits.device) if requests else []


def _to_device(
    assigned: list[list[tuple[Assignment, ...]]], device: torch.device
) -> list[list[tuple[Assignment, ...]]]:
    """Move all index vectors that are on the host to a device, in one copy."""
    vectors = [
        vector
        for sets in assigned
        for images in sets
        for assignment in images
        for vector in (assignment.queries, assignment.objects)
        if vector.device != device
    ]
    if not vectors:
        return assigned
    moved = iter(send(torch.cat(vectors), device).split([len(vector) for vector in vectors]))

    def move(assignment: Assignment) -> Assignment:
        queries, objects = (
            vector if vector.device == device else next(moved) for vector in (assignment.queries, assignment.objects)
        )
        weights = None if assignment.weights is None else assignment.weights.to(device)
        return Assignment(queries=queries, objects=objects, weights=weights)

    return [[tuple(map(move, images)) for images in sets] for sets in assigned]
