"""``querydet compare-matching``, whose options are in `querydet.cli.arguments.compare_matching`."""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from tabulate import tabulate

from querydet.cli.arguments.compare_matching import make_parser, parse_arguments
from querydet.config import load_config
from querydet.engine.matching_states import CheckpointMatcher, read_or_match, states_of
from querydet.evaluation.instability import Matching, compare, save_matching
from querydet.utils.atomic import atomic_write
from querydet.utils.progress import ProgressBar

MEASURES = ("IS", "IS_relative", "objects")
IDENTITIES = {"query": "number", "token": "encoder token; do not compare this IS with that of learned queries"}


def split(items: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into states and changes of the config (``key=value`` that is no file)."""
    overrides = [item for item in items if "=" in item and not os.path.exists(item)]
    return [item for item in items if item not in overrides], overrides


def find_config(path: str) -> str:
    """Return the path of the config beside a checkpoint.

    Raises:
        FileNotFoundError: there is none.
    """
    found = os.path.join(os.path.dirname(os.path.abspath(path)), "config.yaml")
    if not os.path.isfile(found):
        raise FileNotFoundError(f"no config.yaml beside {path}: give --config-file")
    return found


def _matcher(args: argparse.Namespace, paths: Sequence[str], overrides: Sequence[str]) -> CheckpointMatcher:
    checkpoints = [path for path in paths if not path.endswith(".json")]
    cfg = load_config(args.config_file or find_config(checkpoints[0]), overrides)
    return CheckpointMatcher(cfg, _progress)


def _progress(batches: Iterable[Any], name: str) -> Iterable[Any]:
    return ProgressBar(batches, desc=name, unit="batch", disable=None, leave=False)


def _keep(matching: Matching, path: str, folder: str) -> None:
    stem = os.path.splitext(os.path.basename(path))[0]
    save_matching(matching, os.path.join(folder, f"{stem}.json"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    states, overrides = split(args.states)
    paths = [path for state in states for path in states_of(state)]
    if len(paths) < 2:
        make_parser().error(f"two states are needed to compare, found {', '.join(paths) or 'none'}")
    rows: list[dict[str, Any]] = []
    reference: Matching | None = None
    before, identity = "", ""
    for path, matching in read_or_match(paths, partial(_matcher, args, paths, overrides)):
        if args.keep and not path.endswith(".json"):
            _keep(matching, path, args.keep)
        if reference is not None:
            rows.append({"state": path, "compared_with": before, **compare(reference, matching)})
        identity = matching.identity
        if reference is None or not args.against_first:
            reference, before = matching, path
    shown = [[_short(row["state"]), _short(row["compared_with"]), *(row[name] for name in MEASURES)] for row in rows]
    print(tabulate(shown, headers=("state", "compared with", *MEASURES), floatfmt=".3f"))
    print(f"Queries of two states correspond by their {IDENTITIES.get(identity, identity)}.")
    if args.output:
        os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
        with atomic_write(args.output) as file:
            file.write(json.dumps(rows, indent=1).encode())
        print(f"wrote {args.output}")
    return 0


def _short(path: str) -> str:
    return os.path.join(os.path.basename(os.path.dirname(os.path.abspath(path))), os.path.basename(path))
