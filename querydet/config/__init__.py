"""Configs: LazyConfig files, overrides that are checked, and YAML that runs no code."""

from querydet.config.backbone import use_backbone
from querydet.config.files import config_root, find_config, get_config, save_config, shipped_configs
from querydet.config.loading import TOP_LEVEL, apply_overrides, load_config
from querydet.config.nesting import deeper

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
    "use_backbone",
]
