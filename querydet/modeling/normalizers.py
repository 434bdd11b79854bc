"""Divisors of losses. The papers agree on "the number of objects"; their code does not agree on which.

A step consists of micro-batches: every process has one or several. *Mean objects* are the objects of a micro-batch,
averaged over all micro-batches of the step. Gradients are averaged in the same way, so that they equal those of the
whole batch in one process. The released codes differ from that where a process has less than one object on average:
their divisor is at least 1 in every process, while here it is at least 1 over the whole batch.

Denoising queries repeat each object. Their losses have weights (`querydet.modeling.queries.object_slots`) with which
each object counts once, so that the divisors are those of matching queries.
"""

from querydet.structures import ObjectCount, PredictionSet, Targets


class MeanObjects:
    """`max(mean objects, 1 / micro-batches)` times the group's divisor (DINO; Group DETR: the mean over groups).

    A batch without objects keeps its background loss, divided by the group's divisor only.

    Args:
        times: how often each object counts, such as the number of queries that find it; 3 in the one-to-many losses of
            DAC-DETR.

    Raises:
        ValueError: for a number that is not positive.
    """

    def __init__(self, times: float = 1.0) -> None:
        if not times > 0:
            raise ValueError(f"times must be positive, found {times}")
        self.times = times

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the losses of these predictions."""
        objects = self.times * targets.step.mean_per_micro_batch
        return _at_least_one(objects, targets.step) * predictions.group.loss_divisor


class MeanRepeatedObjects:
    """`max(mean objects * divisor, 1 / micro-batches)` (released code of H-DETR and of Group DETR).

    It differs from `MeanObjects` where the whole batch has no objects.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the losses of these predictions."""
        return _at_least_one(targets.step.mean_per_micro_batch * predictions.group.loss_divisor, targets.step)


class LocalObjects:
    """The objects of this micro-batch only, times the group's divisor (released code of DN-DETR).

    They are not averaged: a micro-batch without objects has no such loss, and lowers the weight of the others' losses
    by that. The result depends on the number of processes and micro-batches; no shipped config uses it.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the losses of these predictions; without objects, which have no loss, the group's."""
        return float(max(sum(targets.counts), 1) * predictions.group.loss_divisor)


class WeightedQueries:
    """The weight of all queries, of which those with an object weigh 1 and the others less (DETR's class loss).

    It is that of torch's weighted cross-entropy: in each image, every object has a query, as long as there are some.
    The released code divides by the weight in each process; here it is the mean over the micro-batches of the step.

    Args:
        background: weight of a query without an object.
    """

    def __init__(self, background: float) -> None:
        self.background = background

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the class loss of these predictions."""
        num_queries, counts = predictions.logits.shape[1], targets.step.per_image
        matched = sum(min(count * predictions.group.target_repeats, num_queries) for count in counts)
        weight = self.background * num_queries * len(counts) + (1 - self.background) * matched
        if not weight:  # neither objects nor a weight of the others: the loss is 0
            return float(predictions.group.loss_divisor)
        return weight / targets.step.num_micro_batches * predictions.group.loss_divisor


def _at_least_one(mean: float, step: ObjectCount) -> float:
    """Return a mean over the micro-batches of a step, or that of one in the whole step where it is less."""
    return max(mean, 1.0 / step.num_micro_batches)
