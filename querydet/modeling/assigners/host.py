"""Assigners that decide on the host, and how a training step waits for the device once for all of them.

The device *measures*: costs of pairs, best queries, whatever has a shape that is known beforehand. Everything computed
in a step, for all rules, layers, groups and images, is copied to the host together. There the assigners *decide*, and
the pairs of all of them go back together, which nobody waits for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from querydet.structures import Assignment, PredictionSet, Targets
from querydet.utils.transfer import send, to_host

Assigner = Callable[[PredictionSet, Targets], tuple[Assignment, ...]]


class HostAssigner(ABC):
    """An assigner in two steps. Called, it takes both for one prediction set."""

    @abstractmethod
    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """What deciding needs, on the device and without waiting for it: tensors of any number, shapes and types."""

    @abstractmethod
    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """The assignments of every prediction set and image, on the host.

        Args:
            computed: what :meth:`compute` returned for the same predictions, on the host.
            predictions: sets whose numbers are not to be read here, only what is known of them.
            targets: objects of which the same is true.
        """

    @torch.no_grad()
    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        """Assign the queries of each image of one set."""
        (found,) = assign_all([Request(self, (predictions,), targets)])[0]
        return found


def group_by_shape(predictions: Sequence[PredictionSet]) -> list[list[int]]:
    """Places of the sets to be computed together: with equally many queries, and repeating objects as often."""
    runs: dict[tuple[int, int], list[int]] = {}
    for number, each in enumerate(predictions):
        runs.setdefault((each.boxes.shape[1], each.group.target_repeats), []).append(number)
    return list(runs.values())


@dataclass(frozen=True, slots=True)
class Request:
    """Prediction sets that an assigner is to assign."""

    assigner: Assigner
    predictions: tuple[PredictionSet, ...]
    targets: Targets

    def compute(self) -> tuple[Tensor, ...]:
        """What is to be copied to the host; nothing for an assigner that does all by itself."""
        if not isinstance(self.assigner, HostAssigner):
            return ()
        return self.assigner.compute(self.predictions, self.targets)

    def assign(self, computed: Sequence[Tensor]) -> list[tuple[Assignment, ...]]:
        """The assignments of every prediction set and image, wherever they are."""
        if not isinstance(self.assigner, HostAssigner):
            return [self.assigner(each, self.targets) for each in self.predictions]
        return self.assigner.assign(computed, self.predictions, self.targets)


@torch.no_grad()
def assign_all(
    requests: Sequence[Request], extra: Tensor | None = None, check: Callable[[Tensor], None] | None = None
) -> list[list[tuple[Assignment, ...]]]:
    """Assign all prediction sets of a step.

    Args:
        requests: which ones, and by whom.
        extra: something else that the host wants to read, copied with the rest.
        check: called with it, before anything is decided.

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
    left = iter(host)
    decided = [
        request.assign([next(left) for _ in tensors]) for request, tensors in zip(requests, computed, strict=True)
    ]
    return _to_device(decided, requests[0].predictions[0].logits.device) if requests else []


def _to_device(
    assigned: list[list[tuple[Assignment, ...]]], device: torch.device
) -> list[list[tuple[Assignment, ...]]]:
    """Move all index vectors that are on the host, in one copy."""
    vectors = [
        vector
        for sets in assigned
        for images in sets
        for each in images
        for vector in (each.queries, each.objects)
        if vector.device != device
    ]
    if not vectors:
        return assigned
    moved = iter(send(torch.cat(vectors), device).split([len(vector) for vector in vectors]))

    def move(each: Assignment) -> Assignment:
        queries, objects = (
            vector if vector.device == device else next(moved) for vector in (each.queries, each.objects)
        )
        ignored = None if each.ignored is None else each.ignored.to(device)
        return Assignment(queries=queries, objects=objects, ignored=ignored)

    return [[tuple(move(each) for each in images) for images in sets] for sets in assigned]
