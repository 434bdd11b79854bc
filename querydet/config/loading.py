"""Complete configs: a file, with the changes of a command line applied and checked."""

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, Node

from querydet.config.backbone import CHOICE, use_backbone
from querydet.config.files import get_config
from querydet.config.overrides import change_keys
from querydet.config.plain_yaml import calls_function

TOP_LEVEL = ("model", "dataloader", "optimizer", "lr_multiplier", "train")


def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Change `cfg` in place by `key=value` strings.

    `backbone=swin_t` exchanges the backbone, as `querydet.config.use_backbone` does; wherever it stands, it comes
    first, so that other overrides may change the new backbone. All others change keys that exist, see
    `querydet.config.overrides.change_keys`.

    Args:
        cfg: the config to change.
        overrides: `key=value` in Hydra's grammar.

    Returns:
        `cfg` itself.

    Raises:
        FileNotFoundError: there is no such backbone.
        ValueError: an override is refused.
    """
    choices = [text for text in overrides if text.startswith(CHOICE) and "model" in cfg and "backbone" not in cfg]
    for text in choices:
        use_backbone(text.removeprefix(CHOICE), cfg.model, cfg.get("optimizer"), cfg.get("train"))
    return change_keys(cfg, [text for text in overrides if text not in choices])


def load_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Load a complete config and apply overrides to keys that exist.

    Args:
        name: a path or the name of a shipped file, see `find_config`.
        overrides: `key=value` in Hydra's grammar, such as `train.max_iter=20` or `optimizer.betas=[0.9,0.98]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the top-level names are not exactly those of `TOP_LEVEL`, or an override is refused.
    """
    cfg = get_config(name)
    extra = sorted(set(cfg) - set(TOP_LEVEL))
    if extra:
        raise ValueError(
            f"config '{name}' defines {', '.join(extra)} at the top level; a config consists of "
            f"{', '.join(TOP_LEVEL)}: start the name of a helper with an underscore"
        )
    absent = [part for part in TOP_LEVEL if part not in cfg]
    if absent:
        raise ValueError(f"config '{name}' has no {', '.join(absent)}")
    return _without_functions(apply_overrides(cfg, overrides))


def _without_functions(cfg: DictConfig) -> DictConfig:
    """Replace texts that call functions, such as ``${oc.env:HOME}``, by their values: YAML could not hold them."""
    for node in (cfg, *_nodes(cfg)):
        keys = range(len(node)) if isinstance(node, ListConfig) else list(node)
        for key in keys:
            child = node._get_node(key)
            text = child._value() if isinstance(child, Node) else None
            if isinstance(text, str) and calls_function(text):
                node[key] = node[key]
    return cfg


def _nodes(node: Any) -> Iterator[DictConfig | ListConfig]:
    """Yield the containers below a node, without those that references lead to."""
    if node._is_none() or node._is_missing() or node._is_interpolation():
        return
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        child = node._get_node(key)
        if isinstance(child, DictConfig | ListConfig):
            yield child
            yield from _nodes(child)
