"""Configs: LazyConfig files, overrides that are checked, and YAML that runs no code."""

from querydet.config.files import (
    TOP_LEVEL,
    config_root,
    find_config,
    get_config,
    load_config,
    save_config,
    shipped_configs,
)
from querydet.config.nesting import deeper
from querydet.config.overrides import apply_overrides

__all__ = [
    "TOP_LEVEL",
    "apply_overrides",
    "config_root",
    "deeper",
    "find_config",
    "get_config",
    "load_config",
    "save_config",
    "shipped_configs",
]
