"""The number of training images of each class, for the losses that draw classes by their frequency."""

from typing import Any

from torch import nn

from querydet.data.class_counts import image_counts
from querydet.traits import trait


def needs_class_counts(model: nn.Module) -> bool:
    """Return whether a loss of a model asks for the number of training images of each class."""
    return bool(_takers(model))


def give_class_counts(model: nn.Module, dataset: Any) -> None:
    """Tell every loss of a model that asks for it how many training images have each class.

    Args:
        model: a detector whose criterion has rules; of any other, nothing asks.
        dataset: the training data, as dataset dicts or as the data set of a loader; read only if a loss asks.

    Raises:
        ValueError: no class names are registered for the data set, or a loss refuses the counts.
    """
    if takers := _takers(model):
        counts = image_counts(dataset)
        for take in takers:
            take(counts)


def _takers(model: nn.Module) -> list[Any]:
    rules = trait(getattr(model, "criterion", None), "rules").values()
    found = [trait(term, "use_counts") for rule in rules for term in rule.losses.values()]
    return [take for take in found if take is not None]
