"""Safe loading of YAML configs from others: plain values, and nodes that build known parts. Nothing else is run.

Detectron2's `LazyConfig.load` runs `!!python` tags, OmegaConf calls resolvers, and `instantiate` calls every function
that `_target_` names. Here a config is read as plain values (`querydet.config.plain_yaml`); then every target is
checked with all references filled in (`querydet.utils.targets`), and once more when it is built. A config in Python is
a program and is run as one: read it before you use another person's.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from querydet.config.migration import migrate
from querydet.config.plain_yaml import Name, dotted, read_plain_yaml, walk
from querydet.utils.targets import (
    EVERYTHING,
    TARGET,
    allowed_by_environment,
    how_to_allow,
    how_to_allow_everything,
    target_problem,
    trust,
)

CONFIG_FILE = "config.yaml"  # in the folder of a run
MAX_NUMBER = 20_000  # in a part of a detector or an evaluator, and of images in a batch; shipped: 10,000
# Keys of numbers that are lengths or sizes. Seeds and iterations, which may be larger, are none of them.
_SIZES = re.compile(
    r"model\b|train\.test_time_augmentation\b|dataloader\.evaluator\b(?!.*\.dataset\b)|dataloader\.\w+\.\w*batch_size$"
)


def load_yaml(path: str, allow: Sequence[str] = ()) -> DictConfig:
    """Read a YAML config.

    Args:
        path: path of the file.
        allow: modules, or full names, whose classes and functions the file may name besides the known parts; `*` for
            all. Those of the environment variable `querydet.utils.targets.VARIABLE` are added.

    Raises:
        ValueError: the file is no YAML mapping, holds what stands for an object or calls a function, is beyond a limit
            of `querydet.config.plain_yaml`, names a target that is not allowed, or has a number above `MAX_NUMBER` in a
            part of a detector or an evaluator.
    """
    allowed = [*allow, *allowed_by_environment()]
    content = migrate(read_plain_yaml(path))
    parts = _Parts(path, allowed)
    config = OmegaConf.create(parts.put_into(content), flags={"allow_objects": True})
    for keys, value in _filled_in(config, path):
        if keys[-1] == TARGET or callable(value):
            parts.check(value, keys)
        elif EVERYTHING not in allowed:
            _check_number(value, dotted(keys), path)
    return config


def _check_number(value: Any, key: str, path: str) -> None:
    """Refuse numbers so large that lists of their length, or squares of their size, hang or fill the memory."""
    if not isinstance(value, int | float) or -MAX_NUMBER <= value <= MAX_NUMBER or not _SIZES.match(key):
        return
    raise ValueError(
        f"config '{path}' was refused: {key} is {value!r}, and no part of a detector, and no batch, has numbers "
        f"above {MAX_NUMBER:,}; {how_to_allow_everything()}"
    )


class _Parts:
    """The classes and functions that a file names, wherever they stand when references are filled in."""

    def __init__(self, path: str, allowed: Sequence[str]) -> None:
        self.path = path
        self.allowed = allowed
        self.names: dict[int, str] = {}  # by the identity of the class or function

    def put_into(self, node: Any, keys: tuple[Any, ...] = ()) -> Any:
        """Replace names that stand for themselves by what they name."""
        if isinstance(node, dict):
            return {key: self.put_into(value, (*keys, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [self.put_into(value, (*keys, index)) for index, value in enumerate(node)]
        if not isinstance(node, Name):
            return node
        self.check(str(node), keys)
        part = locate(str(node))
        self.names[id(part)] = str(node)
        return part

    def check(self, target: Any, keys: tuple[Any, ...]) -> None:
        """Refuse what may not stand at this place, and let what may be built later."""
        name = self.names.get(id(target), target)
        problem = None if EVERYTHING in self.allowed else target_problem(name, dotted(keys), self.allowed)
        if problem:
            raise ValueError(
                f"config '{self.path}' was refused: {dotted(keys)} is {name!r}, {problem}; {how_to_allow(name)}"
            )
        trust([name])


def _filled_in(config: DictConfig, path: str) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the values of a config with references filled in, none of which has become a reference by that."""
    values = list(walk(config, path))
    for keys, value in values:
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"config '{path}' was refused: {dotted(keys)} becomes {value!r}, another reference")
    return values


def plain_config(path: str, resolve: bool = True) -> Any:
    """Return the content of a run's config without building or importing anything.

    Args:
        path: path of the YAML file.
        resolve: whether to fill in references.

    Raises:
        ValueError: as for `load_yaml`, except that any target may be named.
    """
    config = OmegaConf.create(_texts(migrate(read_plain_yaml(path))))
    _filled_in(config, path)
    return OmegaConf.to_container(config, resolve=resolve, throw_on_missing=False)


def _texts(node: Any) -> Any:
    """Replace names of parts by plain texts."""
    if isinstance(node, dict):
        return {key: _texts(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_texts(value) for value in node]
    return str(node) if isinstance(node, Name) else node


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
