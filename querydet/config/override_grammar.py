"""One override of a command line: `key=value` in Hydra's grammar."""

import json
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException


def parse_override(text: str) -> tuple[str, Any]:
    """Split an override into its key and its value.

    Args:
        text: `key=value` in Hydra's grammar.

    Raises:
        ValueError: it is of another form, or more than one value.
    """
    if text.startswith("-"):
        raise ValueError(f"option '{text}' has to come before the first key=value override")
    if "=" not in text:
        raise ValueError(f"override '{text}' is not of the form key=value")
    key, _, value = text.partition("=")
    # outside of quotes Hydra's grammar has no letters but those of ASCII, and no further equals sign
    if (not value.isascii() or "=" in value) and value[0] not in "'\"[{":
        text = f"{key}={json.dumps(value, ensure_ascii=False)}"
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ValueError(f"override '{text}' cannot be parsed, quote the value: {error}") from error
    if override.is_add() or override.is_force_add() or override.is_delete():
        raise ValueError(f"override '{text}': adding (+) and deleting (~) keys is not supported")
    if override.package is not None:
        raise ValueError(f"override '{text}': packages (@) are not supported")
    if override.is_sweep_override():
        raise ValueError(f"override '{text}' holds a comma: write a list as [1,2], or quote the value")
    return override.key_or_group, override.value()
