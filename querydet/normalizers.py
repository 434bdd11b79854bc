"""What a loss is divided by. The papers agree on "the number of objects"; their code does not agree on which.

T is the number of objects of all images of a process; processes average it where said so.
"""

from querydet.structures import PredictionSet, Targets


class MeanObjects:
    """``max(T, 1)`` times the group's divisor, T averaged over processes (DINO; Group DETR: the mean over groups).

    Images without objects keep their background loss: it is divided by the divisor alone.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """The divisor of the losses of these predictions."""
        return max(targets.mean_objects, 1.0) * predictions.group.divisor


class MeanRepeatedObjects:
    """``max(T * divisor, 1)``, T averaged over processes (released code of H-DETR and of Group DETR).

    Differs from :class:`MeanObjects` when a process has less than one object on average.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """The divisor of the losses of these predictions."""
        return max(targets.mean_objects * predictions.group.divisor, 1.0)


class LocalObjects:
    """``T`` times the group's divisor, T of this process alone (released code of DN-DETR).

    Not averaged: a process without objects has no such loss, and lowers the weight of the others' by that.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """The divisor of the losses of these predictions; without objects, whose losses are zero, the divisor alone."""
        return float(max(sum(targets.counts), 1) * predictions.group.divisor)
