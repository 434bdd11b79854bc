"""A config that fits converted weights, and the source of every choice: keys, options, or released code."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

OPTIONS, CODE = "the options given or in the file", "the released code"


@dataclass
class Fit:
    """A config that fits converted weights.

    Args:
        recipe: name of the shipped config that it is based on.
        cfg: the complete config with changes applied.
        changes: new values of changed keys.
        sources: where settings that no shape determines come from, by key.
        backbone: whether the weights include a backbone.
    """

    recipe: str
    cfg: DictConfig
    changes: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    backbone: bool = True

    def statement(self) -> list[str]:
        """List the settings that no shape determines, with their sources."""
        return [f"{key}={OmegaConf.select(self.cfg, key)}, known from {why}" for key, why in self.sources.items()]

    def guesses(self) -> str:
        """Say what was guessed of a file that has no options."""
        parts = ("selection", "decoder.layer.order", "postprocess")
        known = [f"{key}={OmegaConf.select(self.cfg, key)}" for key, why in self.sources.items() if why == CODE]
        for part in parts:
            value = OmegaConf.select(self.cfg, f"model.{part}")
            if value is not None:
                named = value["_target_"] if OmegaConf.is_dict(value) else list(value)
                known.append(f"model.{part}={_text(named)}")
        return f"the file holds no options, and these were guessed, as released: {', '.join(known)}"

    def overrides(self) -> list[str]:
        """Format the changes as overrides of a command line."""
        printed = []
        for key, value in self.changes.items():
            if OmegaConf.is_config(value):  # another part: none of the arguments of the old one stay
                printed.append(f"{key}=null")
            printed.append(f"{key}={_text(value)}")
        return printed


def plain(value: Any) -> Any:
    """Return a value of a config with containers of Python."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if OmegaConf.is_config(value):
        return _text(plain(value))
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
