"""A resumed run has to go on with the training data that it was started on."""

import logging
from collections.abc import Mapping
from typing import Any

from detectron2.engine import HookBase

from querydet.data.fingerprint import content, differences

logger = logging.getLogger(__name__)


class SameData(HookBase):
    """Keeps the fingerprint of the training data in every checkpoint, and compares it when one is loaded.

    Args:
        found: fingerprint of the training data; empty in a process that compares nothing.
        allow_changed: go on with other data, with a warning.

    Attributes:
        compared: whether a checkpoint held a fingerprint. Those of version 0.1 do not; their run.json does.
    """

    def __init__(self, found: Mapping[str, Any], allow_changed: bool) -> None:
        self._found = dict(found)
        self._allow_changed = allow_changed
        self.compared = False

    def state_dict(self) -> dict[str, Any]:
        """Return what is compared of the fingerprint."""
        return content(self._found)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare with the data of a checkpoint.

        Raises:
            ValueError: as `compare`.
        """
        self.compared = True
        self.compare(state_dict)

    def compare(self, before: Mapping[str, Any]) -> None:
        """Compare with a fingerprint from the beginning of the run.

        Args:
            before: the fingerprint.

        Raises:
            ValueError: the data are others, and that is not allowed; the message says what differs.
        """
        lines = differences(before, self._found)
        if not lines:
            return
        where = self._found.get("annotations") or self._found.get("name") or "dataloader.train.dataset"
        text = f"the run was started on other training data than those of {where}:\n  " + "\n  ".join(lines)
        if not self._allow_changed:
            raise ValueError(
                f"{text}\nResume with the same data, wherever they are now, start a new run in another "
                "train.output_dir, or set train.allow_changed_config=True to go on all the same"
            )
        logger.warning("%s", text)
