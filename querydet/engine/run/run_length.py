"""Epochs and periods of the config in iterations."""

import re
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig


@dataclass(frozen=True, slots=True)
class RunLength:
    """Length of a run in iterations.

    Args:
        iterations_per_epoch: samples of an epoch // total batch size, at least 1.
        max_iter: iterations of the whole run.
    """

    iterations_per_epoch: int
    max_iter: int

    @classmethod
    def from_config(cls, train: DictConfig, samples: int, total_batch_size: int) -> "RunLength":
        """Resolve ``train.max_epochs`` or, when set, ``train.max_iter``.

        Args:
            train: the ``train`` node of the config.
            samples: number of samples of an epoch: of the training images, with repeats.
            total_batch_size: images of a step over all processes.

        Raises:
            ValueError: no images, or a length that is not positive.
        """
        if samples < 1:
            raise ValueError("the training set has no images")
        epoch = max(1, samples // total_batch_size)
        name = "max_epochs" if train.max_iter is None else "max_iter"
        length = train[name]
        if isinstance(length, bool) or not isinstance(length, int | float) or length <= 0:
            raise ValueError(f"train.{name} has to be a positive number, got {length!r}")
        return cls(epoch, int(length) if name == "max_iter" else max(1, round(length * epoch)))

    def period(self, value: Any, key: str) -> int:
        """Convert a period to iterations.

        Args:
            value: a number of epochs, a string such as "500it", or 0 or None for only at the end.
            key: name of the period in the config, for the message.

        Raises:
            ValueError: anything else.
        """
        if value is None:
            return 0
        if isinstance(value, str) and (match := re.fullmatch(r"(\d+) ?it", value)):
            return int(match[1])
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return max(1, round(value * self.iterations_per_epoch)) if value else 0
        raise ValueError(
            f"{key} is a number of epochs, or iterations as '500it', or 0 for only at the end; got {value!r}"
        )
