"""Options in a published file: the settings that its model was trained with.

Official files store their command line in `args`; Hugging Face's have a `config.json` beside them.
"""

import argparse
import json
import math
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from querydet.checkpoint import limits
from querydet.checkpoint.conversion.code_bases import HUGGINGFACE, CodeBase, code_base_of
from querydet.checkpoint.regular import not_a_file
from querydet.utils.texts import listed, shown

SHOWN = 8
# Kinds of options, by our names; the others are switches.
MAYBE_NONE = ("extra_queries", "num_patterns")
COUNTS = ("num_heads", "encoder_heads", "num_queries", "two_stage_num_proposals", "num_detections", *MAYBE_NONE)
NUMBERS = ("temperature", "temperature_w", "nms_threshold")
LISTS = ("order",)
MAX_COUNT = 1_000_000


def read_options(
    content: Mapping[str, Any],
    path: str = "",
    state: Mapping[str, Any] = MappingProxyType({}),
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Read the options of a file, under our names; empty if it has none.

    Args:
        content: of the checkpoint file.
        path: of the file; a `config.json` in its folder that describes a detector of this family is read too.
        state: the weights under our names, which tell the code base where options do not.
        notes: messages for the user are added here.

    Raises:
        ValueError: the `config.json` is no json, or an option has a value that no part here computes.
    """
    arguments = content.get("args")
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    if isinstance(arguments, Mapping):
        base = code_base_of(arguments, state)
        unknown = base.unknown(arguments)
        if unknown and notes is not None:
            notes.append(
                f"the file has options that the released {base.name} has not, which were not read: "
                f"{listed(unknown, SHOWN)}"
            )
        return _read(base, arguments)
    values = _config_beside(path)
    if not isinstance(values, dict) or values.get("model_type") not in ("deformable_detr", "deta"):
        return {}
    options = _read(HUGGINGFACE, values)
    if options.get("two_stage"):
        options["num_queries"] = options.get("two_stage_num_proposals", options.get("num_queries"))
    return options


def _read(base: CodeBase, found: Mapping[str, Any]) -> dict[str, Any]:
    refused = base.refusals(found)
    if refused:
        raise ValueError(f"the file was trained with {', '.join(refused)}, which no part here does ({base.name})")
    read = {theirs: found[theirs] for theirs in base.read if found.get(theirs) is not None}
    wrong = [
        f"{theirs}={shown(repr(value))}" for theirs, value in read.items() if not _possible(base.read[theirs], value)
    ]
    if wrong:
        raise ValueError(f"the file was trained with {', '.join(wrong)}, which is not possible ({base.name})")
    return {base.read[theirs]: value for theirs, value in read.items()}


def _possible(name: str, value: Any) -> bool:
    """Return whether an option, by our name, has a value of its kind."""
    if name in LISTS:
        return isinstance(value, list | tuple)
    if name in NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if name in COUNTS:
        return type(value) is int and (0 if name in MAYBE_NONE else 1) <= value <= MAX_COUNT
    return isinstance(value, bool) or value in (0, 1)


def _config_beside(path: str) -> Any:
    config_path = os.path.join(os.path.dirname(path), "config.json")
    if not path or not_a_file(config_path) is not None:
        return None
    size = os.path.getsize(config_path)
    if size > limits.MAX_NOTES:
        raise ValueError(f"{config_path}, which lies beside the weights, has {size:,} bytes, which no config needs")
    try:
        with open(config_path, encoding="utf-8") as file:
            return json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{config_path}, which lies beside the weights, is no json: {error}") from error
