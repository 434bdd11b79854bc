"""Overrides that refuse misspelt keys.

Detectron2's `LazyConfig` accepts any `key=value` and silently creates a key that did not exist. Here an override has to
name an existing key of the config, or an argument of the class or function that the surrounding `LazyCall` node builds.
"""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf

from querydet.utils.targets import TARGET, found_targets, short_name, trust


def change_keys(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Change `cfg` in place by `key=value` strings; every key has to exist.

    A key also exists if the `LazyCall` node above it calls something that has an argument of this name:
    `dataloader.train.dataset.check_files=False` works although the config does not list this argument. The new value
    has to be of the same kind as the old one, or as the argument's default; None may replace anything and be replaced
    by anything. A dict changes the keys that it has; one with another ``_target_`` than the node is a new part, which
    keeps no argument of the old one.

    Args:
        cfg: the config to change.
        overrides: `key=value` in Hydra's grammar.

    Returns:
        `cfg` itself.

    Raises:
        ValueError: an override is not of the form `key=value`, its key is unknown (the message names the nearest one)
            or lies below a node that is None or interpolated from another key, its value is of another kind, or its
            `_target_` cannot be imported.
    """
    if overrides:
        from querydet.config.override_grammar import parse_override  # with Hydra, which a config alone does not need
    for text in overrides:
        key, value = parse_override(text)
        replaced = []
        for leaf, leaf_value in _leaves(cfg, key, value):
            old = _check_key(cfg, leaf, text)
            if _is_other_part(old, leaf_value):
                _check_part(leaf_value, text)
                replaced.append(leaf)
            elif leaf.rpartition(".")[2] == "_target_":
                _check_target(leaf_value, text)
            else:
                _check_kind(leaf, (old, _default(cfg, leaf)), leaf_value, text)
        for leaf in replaced:  # so that nothing of it is merged
            OmegaConf.update(cfg, leaf, None, merge=False)
        OmegaConf.update(cfg, key, value, merge=True)
        trust(found_targets(value) | ({value} if key.endswith(TARGET) and isinstance(value, str) else set()))
    return cfg


def _leaves(cfg: DictConfig, key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Split a dict that will be merged into an existing node into its leaves; any other value is one leaf."""
    node = OmegaConf.select(cfg, key) if isinstance(value, dict) and value else None
    if isinstance(node, DictConfig) and not _is_other_part(node, value):
        for name, part in value.items():
            yield from _leaves(cfg, f"{key}.{name}", part)
    else:
        yield key, value


def _check_key(cfg: DictConfig, key: str, text: str) -> Any:
    """Return the current value of a key, or the default of the argument that it names."""
    node: Any = cfg
    parts = key.split(".")
    for depth, part in enumerate(parts):
        path = ".".join(parts[:depth])
        if not isinstance(node, DictConfig | ListConfig):
            state = "not set (None)" if node is None else f"the value {node!r}"
            raise ValueError(f"override '{text}': '{path}' is {state}, there is nothing below it to change")
        if isinstance(node, ListConfig):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(f"override '{text}': '{path}' is a list of {len(node)}, it has no entry '{part}'")
            node = node[int(part)]
        elif part in node:
            if depth < len(parts) - 1 and OmegaConf.is_interpolation(node, part):
                # OmegaConf would replace the interpolation by a node with this one key
                same = ".".join([node[part]._get_full_key(""), *parts[depth + 1 :]])
                raise ValueError(f"override '{text}': '{path}.{part}' is taken from another key, change '{same}'")
            node = node[part]
        elif part in _arguments(node):
            if depth < len(parts) - 1:
                raise ValueError(f"override '{text}': '{path}.{part}' is not set, there is nothing below it to change")
            node = _arguments(node)[part]
        else:
            raise ValueError(_unknown_key(cfg, node, path, key, text))
    return node


def _default(cfg: DictConfig, key: str) -> Any:
    """Return the default of the argument that a key is; where there is none, what the config has."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    arguments = _arguments(node) if isinstance(node, DictConfig) else {}
    default = arguments.get(name, inspect.Parameter.empty)
    return OmegaConf.select(cfg, key) if default in (None, inspect.Parameter.empty) else default


def _check_kind(key: str, olds: Sequence[Any], new: Any, text: str) -> None:
    """Check that a value is of the kind of what the config has, or of the default of its argument."""
    (before, *others), after = map(_kind, olds), _kind(new)
    if before is None or after in (before, *others) or new is None:
        return
    if key.endswith("period") and {before, after} == {"a number", "a string"}:
        return  # such as 2 and "500it"; `querydet.engine.run.run_length` reads both
    hint = (
        f"; to mean a string write \"{key}='{new}'\""
        if before == "a string" and not isinstance(new, list | dict)
        else ""
    )
    raise ValueError(f"override '{text}': '{key}' is {before}, not {after}{hint}")


def _kind(value: Any) -> str | None:
    """Name the kind of a value for messages; None if anything may replace it."""
    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "a boolean (true or false)"),
        ((int, float), "a number"),
        (str, "a string"),
        ((list, tuple, ListConfig), "a list"),
        ((dict, DictConfig), "a group of keys"),
    )
    if value is None or value is inspect.Parameter.empty:
        return None
    return next((name for types, name in kinds if isinstance(value, types)), None)


def _unknown_key(cfg: DictConfig, node: DictConfig, path: str, key: str, text: str) -> str:
    prefix = f"{path}." if path else ""
    siblings = [prefix + str(name) for name in dict.fromkeys([*node, *_arguments(node)])]
    near = difflib.get_close_matches(key, siblings, n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(key, [*siblings, *_all_keys(cfg)], n=1, cutoff=0.0)
    target = node.get("_target_") if "_target_" in node else None
    place = f"'{path}' has" if path else "the config has"
    place = place if target is None else f"'{path}' is {short_name(node)}, which takes"
    names = ", ".join(name[len(prefix) :] for name in siblings if not name.endswith("_target_"))
    return f"override '{text}': there is no key '{key}'; did you mean '{near[0]}'? ({place}: {names})"


def _all_keys(node: Any, prefix: str = "") -> Iterator[str]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, DictConfig) and not node._is_none():
        items = node.items_ex(resolve=False)
    elif isinstance(node, ListConfig) and not node._is_none():
        items = enumerate(node._iter_ex(resolve=False))
    for name, child in items:
        yield f"{prefix}{name}"
        yield from _all_keys(child, f"{prefix}{name}.")


def _arguments(node: DictConfig) -> dict[str, Any]:
    """Return the arguments of the callable of a `LazyCall` node with their defaults; empty for any other node."""
    target = node.get("_target_") if "_target_" in node else None
    if isinstance(target, str):
        target = locate(target)
    if not callable(target):
        return {}
    try:
        parameters = inspect.signature(target).parameters.values()
    except (ValueError, TypeError):  # some builtins have no signature
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in named}


def _is_other_part(node: Any, value: Any) -> bool:
    """Whether a value is a whole part that builds something else than the node does."""
    if not isinstance(value, dict) or TARGET not in value or not isinstance(node, DictConfig) or TARGET not in node:
        return False
    return _name(value[TARGET]) != _name(node[TARGET])


def _name(target: Any) -> str:
    try:
        found = locate(target) if isinstance(target, str) else target
    except ImportError:
        return str(target)
    return f"{found.__module__}.{found.__qualname__}" if hasattr(found, "__qualname__") else str(target)


def _check_part(value: dict[str, Any], text: str) -> None:
    """Check that the callables of a new part, and of the parts in it, can be imported and take what they get."""
    if TARGET in value:
        _check_target(value[TARGET], text)
        taken = _arguments(OmegaConf.create({TARGET: value[TARGET]}))
        for name in value if taken and not _takes_anything(value[TARGET]) else ():
            if name != TARGET and name not in taken:
                raise ValueError(f"override '{text}': '{value[TARGET]}' takes no '{name}', only {', '.join(taken)}")
    for child in value.values():
        if isinstance(child, dict):
            _check_part(child, text)


def _takes_anything(target: Any) -> bool:
    found = locate(target) if isinstance(target, str) else target
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(found).parameters.values())


def _check_target(target: Any, text: str) -> None:
    try:
        resolved = locate(target) if isinstance(target, str) else target
    except ImportError as error:
        raise ValueError(f"override '{text}': '{target}' cannot be imported") from error
    if not callable(resolved):
        raise ValueError(f"override '{text}': '{target}' is not something that can be called")
