"""Measure how much the matching of queries with objects changes between checkpoints: the instability score IS.

    querydet compare-matching RUN                             # what a run kept, each with the one before
    querydet compare-matching RUN/model_0001529.pth RUN/model_final.pth [key=value ...]
    querydet compare-matching first.pth second.pth --config-file CONFIG
    querydet compare-matching RUN/matching/matching_0000100.json RUN/matching/matching_0000200.json

IS (DN-DETR, arXiv 2203.01305, section 3) is the mean, over the images of the test set, of the queries whose object is
another one than in the state before, or none; it is at most twice the mean number of objects. IS_relative is IS as a
part of that maximum. A state is a checkpoint, or a matching that training kept (train.instability.enabled=True). RUN is
a folder: its matchings, or where it has none its checkpoints, are compared in their order.

To compare two states, a query of one has to be found in the other: learned queries by their number, and queries of
two-stage models by the encoder token that they were made from (docs/evaluation.md).
CONFIG is a LazyConfig file, a config.yaml, or the name of a config that comes with querydet; without it the config.yaml
beside the first checkpoint is used.
"""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from tabulate import tabulate

from querydet.cli.options import command_parser
from querydet.config import load_config
from querydet.engine.matching_states import CheckpointMatcher, read_or_match, states_of
from querydet.evaluation.instability import Matching, compare, save_matching
from querydet.utils.atomic import atomic_write
from querydet.utils.progress import ProgressBar

MEASURES = ("IS", "IS_relative", "objects")
IDENTITIES = {"query": "number", "token": "encoder token; do not compare this IS with that of learned queries"}


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = command_parser("compare-matching", __doc__)
    parser.add_argument(
        "states",
        nargs="+",
        metavar="STATE",
        help="checkpoints, matchings or a run's folder; then changes of the config",
    )
    parser.add_argument("--config-file", help="of the checkpoints (default: config.yaml beside the first one)")
    parser.add_argument("--against-first", action="store_true", help="compare with the first state, not the one before")
    parser.add_argument("--output", help="also write the table to this json file")
    parser.add_argument("--keep", metavar="FOLDER", help="also write the matching of every checkpoint into this folder")
    return parser


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
    parser = argument_parser()
    args = parser.parse_intermixed_args(argv)  # changes of the config may stand behind the options
    states, overrides = split(args.states)
    paths = [path for state in states for path in states_of(state)]
    if len(paths) < 2:
        parser.error(f"two states are needed to compare, found {', '.join(paths) or 'none'}")
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
