"""Unusable images of the training data: counted over all processes, reported, limited in number."""

import json
import logging
import os
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from querydet.data.stream import REPLACED
from querydet.utils.atomic import atomic_write

logger = logging.getLogger(__name__)

REPORT = "bad_images.json"
MAX_SHOWN = 20  # files in the log; all are in the report


class TooManyBadImagesError(ValueError):
    """More images are unusable than allowed: the data set is broken, not an image."""


class BadImages:
    """Counts how often other images replaced unusable ones.

    Args:
        dataset_size: number of images of the training data.
        max_fraction: fraction of them that may be unusable; more stop the run.

    Raises:
        ValueError: a fraction outside [0, 1].
    """

    def __init__(self, dataset_size: int, max_fraction: float) -> None:
        if not 0 <= max_fraction <= 1:
            raise ValueError(f"train.max_bad_images is a fraction in [0, 1], got {max_fraction}")
        self.dataset_size = dataset_size
        self.max_fraction = max_fraction
        self.counts: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Number of times that an image was replaced."""
        return sum(self.counts.values())

    def add(self, batch: list[dict[str, Any]]) -> None:
        """Count the replaced images of a step; all processes call this when one of them has any.

        Raises:
            TooManyBadImagesError: more of the data set is unusable than allowed.
        """
        for names in comm.all_gather(replaced(batch)):
            for name in names:
                self.counts[name] = self.counts.get(name, 0) + 1
        if len(self.counts) > self.max_fraction * self.dataset_size:
            raise TooManyBadImagesError(
                f"{len(self.counts)} of {self.dataset_size} training images cannot be used, more than "
                f"train.max_bad_images={self.max_fraction} of them: {', '.join(list(self.counts)[:MAX_SHOWN])}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, and the size of the data set."""
        return {"counts": dict(self.counts), "dataset_size": self.dataset_size}

    def load_state_dict(self, state_dict: dict[str, Any], allow_changed: bool) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the training data has another number of images, and that is not allowed.
        """
        before = state_dict["dataset_size"]
        if before != self.dataset_size and not allow_changed:
            raise ValueError(
                f"the run was started on {before} training images, now there are {self.dataset_size}: their order is "
                "another one. Resume with the same data, or set train.allow_changed_config=True to go on all the same"
            )
        self.counts = dict(state_dict["counts"])


def replaced(batch: list[dict[str, Any]]) -> list[str]:
    """Return the names of the files that were replaced in a batch."""
    return [name for item in batch for name in item.get(REPLACED, ())]


class BadImagesReport(HookBase):
    """Lists the unusable images at the end of a run, also of one that fails, and writes ``bad_images.json``.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def after_train(self) -> None:
        """Log and write the list, if there were any."""
        counts = self.trainer.bad_images.counts
        if not counts:
            return
        shown = [f"  {name}: {count} times" for name, count in list(counts.items())[:MAX_SHOWN]]
        path = os.path.join(self._folder, REPORT)
        logger.warning(
            "%d training images could not be used and were replaced by others, %d times in all; %s lists them:\n%s",
            len(counts),
            sum(counts.values()),
            path,
            "\n".join(shown),
        )
        try:
            with atomic_write(path) as file:
                file.write((json.dumps(counts, indent=2) + "\n").encode())
        except OSError as error:
            logger.error("%s cannot be written: %s", path, error)
