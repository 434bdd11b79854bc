"""Which classes and functions the nodes of a config may call.

A config in Python is a program: what it names is trusted. A config in YAML may come from anybody: it may name known
parts (`querydet.utils.known_parts`), and what the person who runs it allows. Both are checked when they are loaded,
and every name again at the moment when `querydet.utils.lazy.instantiate` is about to call it.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from querydet.utils.known_parts import parts_at

VARIABLE = "QUERYDET_ALLOW_TARGETS"  # further modules or names, separated by commas; * for all
EVERYTHING = "*"
TARGET = "_target_"
_trusted: set[str] = set()  # names in programs, and names that were allowed by an argument


def allowed_by_environment() -> list[str]:
    """Return the modules and names that the environment variable `VARIABLE` allows."""
    return [name for part in os.environ.get(VARIABLE, "").split(",") if (name := part.strip())]


def target_problem(target: Any, place: str = "", allowed: Iterable[str] = ()) -> str | None:
    """Return the reason why a config may not call a target; None if it may. Only packages of known parts are imported.

    Args:
        target: a value of ``_target_``.
        place: dotted key of the node in the config, which decides what may be called; empty: any known part.
        allowed: modules and full names that may be called too; `EVERYTHING` for all.
    """
    if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", target):
        return "which is not the name of a class or function"
    if _within(target, allowed):
        return None
    known = parts_at(place)
    if any(_same(target, name, module) for name, module in known.items()):
        return None
    if place and target_problem(target) is None:
        return "which is a known part, but not of this place"
    return "which is no known part of a detector"


def full_name(target: str) -> str:
    """Return the name of a known part with the module that defines it; any other name as it is, not imported."""
    return next((name for name, module in parts_at("").items() if _same(target, name, module)), target)


def short_name(node: Any) -> str:
    """Return the name of the class or function that a node of a config calls, without its module; "" if it calls none.

    Args:
        node: of a config, whose target is a name or, in a config in Python, the class or function itself.
    """
    target = node.get(TARGET, "") if isinstance(node, DictConfig) else ""
    return str(getattr(target, "__name__", target)).rpartition(".")[2]


def trust(targets: Iterable[Any]) -> None:
    """Let `check_targets` pass these names from now on: those of a program, or those that the caller allowed."""
    _trusted.update(target for target in targets if isinstance(target, str))


def check_targets(node: Any) -> None:
    """Check every target in a node before any is called.

    Targets that are classes or functions were put there by a program. Names have to be trusted, known, or allowed by
    the environment.

    Raises:
        ValueError: a target may not be called, or a value has become an interpolation.
    """
    allowed = [*_trusted, *allowed_by_environment()]
    if EVERYTHING not in allowed:
        _check(node, allowed)


def everything_is_allowed() -> bool:
    """Return whether the environment variable `VARIABLE` lifts all limits."""
    return EVERYTHING in allowed_by_environment()


def how_to_allow_everything() -> str:
    """Return the sentence that says how to lift all limits."""
    return f"for a config that you trust the environment variable {VARIABLE}={EVERYTHING} lifts this limit"


def found_targets(node: Any) -> set[str]:
    """Return the names of all targets in a node, whether they can be called or not."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)  # references may lead nowhere yet
    if isinstance(node, Mapping):
        own = {str(node[TARGET])} if TARGET in node else set()
        return own.union(*(found_targets(value) for value in node.values()))
    if isinstance(node, Sequence) and not isinstance(node, str | bytes):
        return set().union(*map(found_targets, node))
    return set()


def _check(node: Any, allowed: list[str]) -> None:
    try:
        children = _children(node)
    except OmegaConfBaseException:  # missing or leads nowhere: nothing can be called before that is mended
        return
    for key, value in children:
        if key == TARGET and not (callable(value) and not isinstance(value, str)):
            problem = target_problem(value, allowed=allowed)
            if problem:
                raise ValueError(f"refused to call {value!r}, {problem}; {how_to_allow(value)}")
        elif isinstance(value, str) and "${" in value:
            raise ValueError(f"refused {value!r} of {key!r}: a value that refers to another one, after all were read")
        _check(value, allowed)


def _children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, DictConfig | ListConfig) and (node._is_none() or node._is_missing()):
        return []
    if isinstance(node, Mapping):
        return list(node.items())
    if isinstance(node, Sequence | Set) and not isinstance(node, str | bytes):
        return list(enumerate(node))
    return []


def how_to_allow(target: Any) -> str:
    """Return the sentence that says what to do about a target that one trusts."""
    module = str(target).rpartition(".")[0] or "my_parts"
    return f"if you trust it, set the environment variable {VARIABLE}={module if module.isascii() else 'my_parts'}"


def _within(name: str, modules: Iterable[str]) -> bool:
    return any(module == EVERYTHING or name == module or name.startswith(module + ".") for module in modules)


def _same(target: str, name: str, module: str) -> bool:
    """Whether a target is a known part, by its full name or by one of a package above, as Detectron2 writes it."""
    if target == name:
        return True
    own = name[len(module) :]  # with its dot
    package = target[: -len(own)]
    if not target.endswith(own) or not module.startswith(package + "."):
        return False
    try:
        return locate(target) is locate(name)
    except ImportError:
        return False
