"""Divisors of losses. The papers agree on "the number of objects"; their code does not agree on which.

A step consists of micro-batches: every process has one or several. *Mean objects* are the objects of a micro-batch,
averaged over all micro-batches of the step. Gradients are averaged in the same way, so that they equal those of the
whole batch in one process. The released codes differ from that where a process has less than one object on average:
their divisor is at least 1 in every process, while here it is at least 1 over the whole batch.
"""

from querydet.structures import PredictionSet, Targets


class MeanObjects:
    """`max(mean objects, 1 / micro-batches)` times the group's divisor (DINO; Group DETR: the mean over groups).

    A batch without objects keeps its background loss, divided by the group's divisor only.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the losses of these predictions."""
        return (
            max(targets.mean_objects_per_micro_batch, 1.0 / targets.num_micro_batches) * predictions.group.loss_divisor
        )


class MeanRepeatedObjects:
    """`max(mean objects * divisor, 1 / micro-batches)` (released code of H-DETR and of Group DETR).

    It differs from `MeanObjects` where the whole batch has no objects.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the losses of these predictions."""
        return max(
            targets.mean_objects_per_micro_batch * predictions.group.loss_divisor, 1.0 / targets.num_micro_batches
        )


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

    The released code divides by the weight in each process. Here the number of queries with an object is the mean over
    the micro-batches: one query for each object, and no more than there are.

    Args:
        background: weight of a query without an object.
    """

    def __init__(self, background: float) -> None:
        self.background = background

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the class loss of these predictions."""
        num_queries = predictions.logits.shape[0] * predictions.logits.shape[1]
        num_matched = min(targets.mean_objects_per_micro_batch * predictions.group.target_repeats, num_queries)
        weight = self.background * num_queries + (1 - self.background) * num_matched
        return max(weight, 1.0 / targets.num_micro_batches) * predictions.group.loss_divisor
