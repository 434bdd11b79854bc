"""The checkpoints in the folder of a run: which one to resume from, and which ones may go."""

import logging
import os
import re

from querydet.checkpoint.regular import not_a_file
from querydet.checkpoint.seal import damage
from querydet.checkpoint.torch_files import load_archive

logger = logging.getLogger(__name__)

POINTER = "last_checkpoint"
BEST = "model_best.pth"
MAX_POINTER = 4096  # bytes of the pointer that are read
_NUMBERED = re.compile(r"model_(\d{7,})\.pth")


def candidates(folder: str) -> list[str]:
    """Return the files that a run may resume from, the first to try at the front. The best model is none of them.

    The file that ``last_checkpoint`` names comes first, then the others, latest iteration first. A file of a later
    iteration that was written after the pointer comes before it: the run was killed between the two. The pointer may
    be empty, missing, or lead outside of the folder, which is the same as missing. Times of files, which a clock that
    was set back makes worthless, decide nothing else.
    """
    if not os.path.isdir(folder):
        return []
    names = [n for n in os.listdir(folder) if n.startswith("model_") and n.endswith(".pth") and n != BEST]
    iterations = {name: _iteration(os.path.join(folder, name)) for name in names}
    names.sort(key=lambda name: (iterations[name], name), reverse=True)
    pointed = _pointed(folder)
    if pointed in iterations:
        pointer_time = _time(folder, POINTER)

        def later(name: str) -> bool:
            return iterations[name] > iterations[pointed] and _time(folder, name) > pointer_time

        names.sort(key=lambda name: not (name == pointed or later(name)))
    return [os.path.join(folder, name) for name in names]


def remove_old(folder: str, keep: int, iteration: int) -> None:
    """Remove numbered checkpoints so that ``keep`` whole ones remain.

    Files are read before older ones go, so that damaged ones do not count; those are left where they are. So are files
    of later iterations, which belong to a part of the run that is being repeated.

    Args:
        folder: of the run.
        keep: number of checkpoints to keep, at least 1.
        iteration: the last one that the run has done.
    """
    names = [name for name in os.listdir(folder) if not_a_file(os.path.join(folder, name)) is None]
    numbers = {name: int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))}
    whole = 0
    for name in sorted(numbers, key=lambda name: numbers[name], reverse=True):
        path = os.path.join(folder, name)
        if numbers[name] > iteration:
            continue
        if whole == keep:
            os.remove(path)
        elif (problem := damage(path)) is None:
            whole += 1
        else:
            logger.warning("Checkpoint %s is damaged and does not count as kept: %s", path, problem)


def last_iteration(path: str) -> int:
    """Return the iteration after which a checkpoint of a training run was written.

    Raises:
        ValueError: the file holds weights only.
        Exception: it cannot be read.
    """
    if not_a_file(path) is not None:
        raise ValueError(f"checkpoint {path} {not_a_file(path)}")
    content = load_archive(path, lazily=True)
    iteration = content.get("iteration") if isinstance(content, dict) else None
    if type(iteration) is not int or iteration < 0:
        raise ValueError(f"checkpoint {path} is not one of a training run: it holds no iteration")
    return iteration


def _iteration(path: str) -> int:
    """Return the iteration in the name or else in the file; -1 for an unreadable file, which is then tried last."""
    if match := _NUMBERED.fullmatch(os.path.basename(path)):
        return int(match[1])
    try:
        return last_iteration(path)
    except Exception:  # whatever a damaged file leads to: it is checked, and reported, when its turn comes
        return -1


def _pointed(folder: str) -> str:
    path = os.path.join(folder, POINTER)
    if not_a_file(path) is not None:
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_POINTER).strip()
    except OSError:
        return ""


def _time(folder: str, name: str) -> int:
    path = os.path.join(folder, name)
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0
