"""Safe loading of YAML configs from others: plain values, and nodes that build known parts. Nothing else is run.

Detectron2's `LazyConfig.load` runs `!!python` tags, and `instantiate` calls every function that `_target_` names. Here
tags are refused except for the names of parts, and targets have to be parts too: classes or functions that one of the
packages in `KNOWN` defines. A config in Python is a program and is run as one: read it before you use another person's.
"""

import inspect
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from querydet.config.migration import migrate, moved_name

VARIABLE = "QUERYDET_ALLOW_TARGETS"  # further modules or names, separated by commas; * for all
EVERYTHING = "*"
CONFIG_FILE = "config.yaml"  # in the folder of a run
KNOWN = (
    "querydet.data",
    "querydet.engine.solver",
    "querydet.evaluation",
    "querydet.modeling",
    # not detectron2.data, which opens pickles, nor detectron2.config, which runs files
    "detectron2.data.transforms",
    "detectron2.evaluation",
    "detectron2.layers",
    "detectron2.modeling",
    "detectron2.solver",
    "fvcore.common.param_scheduler",
    "torch.nn",
    "torch.optim",
)
TARGET = "_target_"
RESOLVERS = ("oc.env",)  # others make nodes, and with them targets
_RESOLVER = re.compile(r"\$\{\s*([^\s{}:.$][^\s{}:$]*)\s*:")


class _Loader(yaml.SafeLoader):
    """Plain values; a tuple of Python, which is harmless, becomes a list."""


class _Name(str):
    """The name of a class or function that stands for itself, such as the block of a ResNet."""


def _construct_name(loader: _Loader, suffix: str, node: yaml.Node) -> _Name:
    return _Name(moved_name(suffix))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", yaml.SafeLoader.construct_yaml_seq)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", _construct_name)


def load_yaml(path: str, allow: Sequence[str] = ()) -> DictConfig:
    """Read a YAML config.

    Args:
        path: path of the file.
        allow: modules, or full names, whose classes and functions the file may name besides those of `KNOWN`; `*`
            for all. Those of the environment variable in `VARIABLE` are added.

    Raises:
        ValueError: the file is no YAML mapping, holds a tag that stands for an object, or names a target that is not
            allowed.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = yaml.load(file, Loader=_Loader)
        except yaml.constructor.ConstructorError as error:
            raise ValueError(
                f"config '{path}' was refused: {error.problem} at line {_line(error)}. Such tags run code; nothing was "
                "run. A config that needs them has to be written in Python"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"config '{path}' is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"config '{path}' holds {type(content).__name__} instead of keys and values")
    allowed = [*allow, *filter(None, (name.strip() for name in os.environ.get(VARIABLE, "").split(",")))]
    resolved = _resolve(migrate(content), "", path, allowed)
    return OmegaConf.create(resolved, flags={"allow_objects": True})


def _line(error: yaml.constructor.ConstructorError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark else 0


def _resolve(node: Any, place: str, path: str, allowed: Sequence[str]) -> Any:
    """Check a node, and return it with names of parts replaced by the parts."""
    if isinstance(node, dict):
        where = f"{place}." if place else ""
        if TARGET in node:
            _check(node[TARGET], where + TARGET, path, allowed)
        return {key: _resolve(value, f"{where}{key}", path, allowed) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolve(value, f"{place}.{index}", path, allowed) for index, value in enumerate(node)]
    if isinstance(node, _Name):
        _check(str(node), place, path, allowed)
        return locate(str(node))
    unsafe = [name for name in _RESOLVER.findall(node) if name not in RESOLVERS] if isinstance(node, str) else []
    if unsafe and EVERYTHING not in allowed:
        raise ValueError(
            f"config '{path}' was refused: {place} uses the resolver {unsafe[0]!r}, and only {RESOLVERS[0]} is safe"
        )
    return node


def _check(target: Any, place: str, path: str, allowed: Sequence[str]) -> None:
    problem = None if EVERYTHING in allowed else target_problem(target, allowed)
    if problem:
        raise ValueError(
            f"config '{path}' was refused: {place} is {target!r}, {problem}. If you trust it, set the environment "
            f"variable {VARIABLE} to the module (such as {VARIABLE}=my_parts)"
        )


def target_problem(target: Any, allowed: Iterable[str] = ()) -> str | None:
    """Return the reason why a target may not be called; None if it may."""
    if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)*", target):
        return "which is not the name of a class or function"
    if _within(target, allowed):
        return None
    # Detectron2 writes the shortest path of a class, such as querydet.DINO: its module, below, decides about these
    if not (_within(target, KNOWN) or re.fullmatch(r"querydet\.\w+", target)):
        return "which none of the known packages of parts has"
    try:
        located = locate(target)
    except Exception as error:  # whatever an import raises
        return f"which cannot be imported ({type(error).__name__})"
    home = getattr(located, "__module__", None)
    if not (inspect.isclass(located) or inspect.isroutine(located)):
        return "which is neither a class nor a function"
    # a module of a known package may itself have imported os
    if not isinstance(home, str) or not _within(home, KNOWN):
        return f"which belongs to {home}, none of the known packages of parts"
    return None


def _within(name: str, modules: Iterable[str]) -> bool:
    return any(module == EVERYTHING or name == module or name.startswith(module + ".") for module in modules)


def plain_config(path: str, resolve: bool = True) -> Any:
    """Return the content of a run's config without building anything.

    Args:
        path: path of the YAML file.
        resolve: whether to resolve interpolations.
    """
    return OmegaConf.to_container(load_yaml(path, allow=[EVERYTHING]), resolve=resolve, throw_on_missing=False)


def config_leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted keys of all leaves of a config, with their values as text."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    if not items:
        yield key, repr(value)
    for name, child in items:
        yield from config_leaves(child, f"{key}.{name}" if key else str(name))
