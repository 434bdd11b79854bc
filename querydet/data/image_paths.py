"""Rules by which an image of a COCO json names its file.

COCO's own images have a `file_name`. LVIS v1 has none: its images lie where their `coco_url` says, in train2017 and
val2017. LVIS v0.5 has the names of COCO 2014 as well, of which the last 16 characters are those of 2017. Objects365
names folders that most copies of it on disk lack.
"""

import os
import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Any

COCO_2014 = re.compile(r"COCO_[a-z]+2014_(\d{12}\.jpg)")


def _by_name(image: dict[str, Any]) -> Any:
    return image.get("file_name")


def _by_address(image: dict[str, Any]) -> Any:
    """Return the last two parts of an address; without one, the file name of 2017."""
    address = image.get("coco_url")
    if isinstance(address, str) and address:
        return last_two(address)
    name = image.get("file_name")
    old = COCO_2014.fullmatch(name) if isinstance(name, str) else None
    return old[1] if old else name


def _by_name_or_address(image: dict[str, Any]) -> Any:
    return image["file_name"] if image.get("file_name") else _by_address(image)


def _by_last_two(image: dict[str, Any]) -> Any:
    name = image.get("file_name")
    return last_two(name) if isinstance(name, str) and name else name


RULES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "auto": _by_name_or_address,
    "file_name": _by_name,
    "coco_url": _by_address,
    "last_two": _by_last_two,
}


def check_rule(rule: str) -> None:
    """Check the name of a rule.

    Raises:
        ValueError: there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"dataset.file_names has to be one of {', '.join(RULES)}, got {rule!r}")


def set_file_names(images: Any, rule: str) -> None:
    """Set the `file_name` of the images of a parsed json by a rule.

    Args:
        images: of the json; entries that are no objects are passed over.
        rule: "file_name" as it is; "coco_url": the last two parts of the address, in LVIS; "last_two": those of the
            name, in Objects365; "auto": `file_name`, and `coco_url` where there is none.

    Raises:
        ValueError: there is no such rule.
    """
    check_rule(rule)
    entries: Sequence[Any] = images if isinstance(images, list) else ()
    for image in entries:
        if isinstance(image, dict) and (name := RULES[rule](image)) is not None:
            image["file_name"] = name


def last_two(name: str) -> str:
    """Return the last two parts of a name; "a/../b/c" has the parts "b" and "c"."""
    return "/".join(posixpath.normpath(name.replace("\\", "/")).split("/")[-2:])


def in_folder(path: str, folder: str) -> str:
    """Return the name of a file relative to the folder that its path begins with; any other path as it is."""
    return path.removeprefix(os.path.join(folder, ""))
