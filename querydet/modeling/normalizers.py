"""What a loss is divided by. The papers agree on "the number of objects"; their code does not agree on which.

A step is computed in shares: every process has one, or several micro-batches. T is the number of objects of a share,
averaged over all shares of the step, as are the gradients: together they are those of the whole batch in one share. The
released codes differ from that where a process has less than one object on average: their divisor is never less than 1
in any process, here it is never less than 1 over the whole batch.
"""

from querydet.structures import PredictionSet, Targets


class MeanObjects:
    """``max(T, 1 / shares)`` times the group's divisor (DINO; Group DETR: the mean over groups).

    Images without objects keep their background loss: it is divided by the divisor alone.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """The divisor of the losses of these predictions."""
        return (
            max(targets.mean_objects_per_micro_batch, 1.0 / targets.num_micro_batches) * predictions.group.loss_divisor
        )


class MeanRepeatedObjects:
    """``max(T * divisor, 1 / shares)`` (released code of H-DETR and of Group DETR).

    Differs from :class:`MeanObjects` when the whole batch has no objects.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """The divisor of the losses of these predictions."""
        return max(
            targets.mean_objects_per_micro_batch * predictions.group.loss_divisor, 1.0 / targets.num_micro_batches
        )


class LocalObjects:
    """The objects of this share alone, times the group's divisor (released code of DN-DETR).

    Not averaged: a share without objects has no such loss, and lowers the weight of the others' by that. So what is
    computed depends on the number of processes and micro-batches; no shipped config uses it.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """The divisor of the losses of these predictions; without objects, whose losses are zero, the divisor alone."""
        return float(max(sum(targets.counts), 1) * predictions.group.loss_divisor)


class WeightedQueries:
    """The weight of all queries, of which those with an object weigh 1 and the others less (DETR's class loss).

    The released code divides by the weight in each process; here, of the objects, it is the mean over the shares, and
    an object counts as one query, at most as many as there are.

    Args:
        background: weight of a query without an object.
    """

    def __init__(self, background: float) -> None:
        self.background = background

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """The divisor of the class loss of these predictions."""
        queries = predictions.logits.shape[0] * predictions.logits.shape[1]
        matched = min(targets.mean_objects_per_micro_batch * predictions.group.target_repeats, queries)
        weight = self.background * queries + (1 - self.background) * matched
        return max(weight, 1.0 / targets.num_micro_batches) * predictions.group.loss_divisor
