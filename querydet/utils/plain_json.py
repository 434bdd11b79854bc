"""Reading json of others: whatever is in it, the result is plain and the errors are ValueError."""

import json
from typing import Any

MAX_DIGITS = 300  # of an integer: those that a float cannot hold fail wherever they are computed with


def parse_json(text: str) -> Any:
    """Parse a text.

    Raises:
        ValueError: it is no json, is nested too deeply, or has an integer of more than `MAX_DIGITS` digits.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has an integer of {len(digits)} digits: {digits[:20]}...")
    return int(digits)
