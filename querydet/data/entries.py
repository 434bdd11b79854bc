"""Values of the entries of a COCO json, as exporters write them: ids, numbers and flags."""

import re
from typing import Any, TypeGuard

TRUE_TEXTS = ("1", "1.0", "true", "yes")


def is_id(value: Any) -> TypeGuard[int]:
    """Return whether a value can be an id: an integer (in a json, `true` is none)."""
    return isinstance(value, int) and not isinstance(value, bool)


def as_id(value: Any) -> int | None:
    """Return the integer that an id means: 3 for 3, 3.0, "3" and "3.0"; None where it means none."""
    if is_id(value):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    return int(text.partition(".")[0]) if re.fullmatch(r"[+-]?[0-9]{1,40}(\.0*)?", text) else None


def as_number(value: Any) -> Any:
    """Return the number that a text holds; other values as they are."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number, truth values aside."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_ignored(annotation: dict[str, Any]) -> bool:
    """Return whether an annotation is marked with `ignore`, as COCO-like sets mark regions that do not count."""
    flag = annotation.get("ignore")
    return flag == 1 or (isinstance(flag, str) and flag.strip().lower() in TRUE_TEXTS)


def is_crowd(annotation: dict[str, Any]) -> bool:
    """Return whether an annotation is a region in which detections do not count: `iscrowd: 1` or `ignore: 1`."""
    return annotation.get("iscrowd", 0) == 1 or is_ignored(annotation)
