"""The record of a run in its folder: ``run.json``, which lists everything that the run depended on.

``run.json`` has an entry for every time that the run was started or resumed: command, commit, machine, versions of all
packages, the state of the source checkout, and a fingerprint of the data. Changes of the checkout that are not
committed are kept as ``uncommitted.diff``.
"""

import importlib.metadata
import logging
import os
from typing import Any

from detectron2.utils import comm

from querydet.utils.provenance import git_state, read_parts, uncommitted

logger = logging.getLogger(__name__)

DIFF_FILE = "uncommitted.diff"


def describe_run(folder: str, data: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Collect the details of a run for its entry in ``run.json``, and write ``uncommitted.diff`` if there are changes.

    Args:
        folder: folder of the run.
        data: fingerprints of data sets by use, "train" and "test".
    """
    changes = uncommitted()
    if changes:
        try:
            with open(os.path.join(folder, DIFF_FILE), "w", encoding="utf-8") as file:
                file.write(changes)
        except OSError as error:  # a full disk: no reason not to train
            logger.error("%s cannot be written: %s", DIFF_FILE, error)
    return {
        "processes": comm.get_world_size(),
        "git": git_state(),
        "packages": packages(),
        "data": data,
    }


def recorded_data(folder: str) -> dict[str, Any]:
    """Return the fingerprint of the training data in the last entry of ``run.json``; empty when there is none."""
    try:
        data = read_parts(folder)[-1].get("data")
    except (OSError, ValueError, IndexError):  # it is put aside when the run begins
        return {}
    found = data.get("train") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def packages() -> dict[str, str]:
    """Return the versions of all installed packages, by name."""
    read = [each.metadata for each in importlib.metadata.distributions()]  # which parses a file each time
    found = {each["Name"]: each["Version"] for each in read}
    return {name: found[name] for name in sorted(filter(None, found), key=str.lower)}
