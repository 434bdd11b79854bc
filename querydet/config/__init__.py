"""Configs: LazyConfig files, overrides that are checked, and YAML that runs no code."""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
    from querydet.config.backbone import use_backbone
    from querydet.config.files import find_config, get_config, save_config
    from querydet.config.loading import TOP_LEVEL, apply_overrides, load_config
    from querydet.config.locations import config_root, shipped_configs
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

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.config.backbone": "use_backbone",
            "querydet.config.files": "find_config get_config save_config",
            "querydet.config.loading": "TOP_LEVEL apply_overrides load_config",
            "querydet.config.nesting": "deeper",
            "querydet.config.locations": "config_root shipped_configs",
        },
    )
