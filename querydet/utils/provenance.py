"""Provenance of published numbers: the command, commit, machine, versions and date that are stored beside them."""

import contextlib
import datetime
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import querydet
from querydet.utils.atomic import atomic_write
from querydet.utils.damaged import put_aside, put_aside_unless_file
from querydet.utils.plain_json import parse_json

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
GIT_TIMEOUT = 30.0  # seconds; the checkout may lie on storage that does not answer


def provenance(argv: Sequence[str]) -> dict[str, object]:
    """Describe the running program for a data file of results.

    Args:
        argv: the command line, script first, as in `sys.argv`.

    Returns:
        `command, commit, date, machine, load_average, versions`.
    """
    import torch  # here and below: what a run has left is read without it

    return {
        "command": "python " + shlex.join([_relative(argv[0]), *argv[1:]]),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "load_average": [round(load, 1) for load in os.getloadavg()],  # far above the threads used: others ran too
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "querydet": querydet.__version__,
        },
    }


@contextlib.contextmanager
def recorded(
    folder: str, start_iteration: int, started: float, details: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Write `run.json` beside the results of a training run: what runs, and at the end how long it took.

    The file is a list with one entry for every start or resumption of the run; an entry of a killed process has no
    `minutes`.

    Args:
        folder: of the run.
        start_iteration: first iteration after this start; 0 begins a new list.
        started: `time.time()` of this start.
        details: further entries.
    """
    path = Path(folder) / RUN_FILE
    parts = _earlier_parts(path) if start_iteration else []
    put_aside_unless_file(str(path))
    parts.append({"start_iteration": start_iteration, **provenance(sys.argv), **(details or {})})
    _write_parts(path, parts)
    try:
        yield
    finally:
        parts[-1]["minutes"] = round((time.time() - started) / 60, 2)
        _write_parts(path, parts)


def read_parts(folder: str) -> list[dict[str, Any]]:
    """Read the entries of a run's `run.json`; empty when the run has no such file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged.
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        return []
    try:
        parts = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"{path} is damaged: it is no list of entries")
    return parts


def _earlier_parts(path: Path) -> list[dict[str, Any]]:
    """Read the entries that a resumed run goes on with; a file that cannot be read is put aside."""
    try:
        return read_parts(str(path.parent))
    except (OSError, ValueError) as error:
        put_aside(str(path), error)
        return []


def _write_parts(path: Path, parts: list[dict[str, Any]]) -> None:
    """Write the entries; a full disk only warns, as it is no reason to end a training run."""
    try:
        with atomic_write(str(path)) as file:
            file.write((json.dumps(parts, indent=2) + "\n").encode())
    except OSError as error:
        logger.warning("%s cannot be written: %s", path, error)


def commit() -> str | None:
    """Return the commit of the source checkout, with `-dirty` when tracked files differ; None outside of a checkout."""
    root = Path(querydet.__file__).parents[1]
    revision = _git(root, "rev-parse", "HEAD")
    if not revision:
        return None
    return revision + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def git_state() -> dict[str, Any]:
    """Describe the source checkout: `commit, branch, changed` and `untracked` files; empty outside of a checkout."""
    root = Path(querydet.__file__).parents[1]
    revision = _git(root, "rev-parse", "HEAD")
    if not revision:
        return {}
    lines = _git(root, "status", "--porcelain").splitlines()
    return {
        "commit": revision,
        "branch": _git(root, "rev-parse", "--abbrev-ref", "HEAD"),
        "changed": [line.split(maxsplit=1)[1] for line in lines if not line.startswith("??")],
        "untracked": [line.split(maxsplit=1)[1] for line in lines if line.startswith("??")],
    }


def uncommitted() -> str:
    """Return the changes of tracked files since the commit as a patch; "" when there are none."""
    root = Path(querydet.__file__).parents[1]
    patch = _git(root, "diff", "HEAD", "--binary")
    return patch + "\n" if patch else ""


def machine() -> str:
    """Name the GPU, or the processor and its number of cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()}, {os.cpu_count()} cores, no GPU"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({platform.machine()})"


def _relative(script: str) -> str:
    root = Path(querydet.__file__).parents[1]
    path = Path(script)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else script


def _git(root: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()
