"""Classes of one data set as those of another, where names alone do not tell.

The table from Objects365 v2 to COCO is that of D-FINE (arXiv 2410.13842, released code), made by hand. Some of its rows
are the nearest class and not the same one: bird is Wild Bird, skis are Skating and Skiing Shoes, a sports ball is a
Baseball, a suitcase is Luggage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from querydet.checkpoint.conversion.coco_classes import COCO_NAMES

# by COCO's 80 classes: index of the class of Objects365, which is its category id less 1
_OBJECTS365_OF_COCO = (
    *(0, 46, 5, 58, 114, 55, 116, 65, 21, 40, 176, 127, 249, 24, 56, 139, 92, 78, 99, 96),
    *(144, 295, 178, 180, 38, 39, 13, 43, 120, 219, 148, 173, 165, 154, 137, 113, 145, 146, 204, 8),
    *(35, 10, 88, 84, 93, 26, 112, 82, 265, 104, 141, 152, 234, 143, 150, 97, 2, 50, 25, 75),
    *(98, 153, 37, 73, 115, 132, 106, 61, 163, 134, 277, 81, 133, 18, 94, 30, 169, 70, 328, 226),
)


@dataclass(frozen=True)
class KnownMap:
    """The classes of one data set by the names of another's.

    Args:
        name: of the map, as configs have it.
        num_classes: of the data set that the file was trained on.
        rows: class index of that data set by name, see `plain_name`.
    """

    name: str
    num_classes: int
    rows: Mapping[str, int]

    def first_row(self, outputs: int) -> int:
        """Return the row of the first class among the outputs of a file.

        Some code bases use category ids from 1 as indices, and have an output 0 that means nothing.

        Raises:
            ValueError: the file has another number of outputs.
        """
        if outputs not in (self.num_classes, self.num_classes + 1):
            raise ValueError(
                f"train.init_class_map={self.name} is for files of {self.num_classes} classes (or "
                f"{self.num_classes + 1}, where category ids are indices), this one has {outputs}: leave it out"
            )
        return outputs - self.num_classes


def plain_name(name: str) -> str:
    """Return a class name without what makes no difference: case, underscores and surplus blanks."""
    return " ".join(name.replace("_", " ").lower().split())


CLASS_MAPS = {
    "objects365_to_coco": KnownMap(
        "objects365_to_coco",
        365,
        {plain_name(name): row for name, row in zip(COCO_NAMES, _OBJECTS365_OF_COCO, strict=True)},
    )
}


def find_class_map(name: str | None) -> KnownMap | None:
    """Return a map by its name; None for none.

    Raises:
        ValueError: there is no such map.
    """
    if not name:
        return None
    if name not in CLASS_MAPS:
        raise ValueError(f"train.init_class_map has to be null or one of {', '.join(CLASS_MAPS)}, got {name!r}")
    return CLASS_MAPS[name]


def class_map_of(train: Mapping[str, Any]) -> KnownMap | None:
    """Return the map that the settings of a run name; None for none.

    Args:
        train: `train` of the config; runs of earlier versions lack the key.

    Raises:
        ValueError: there is no such map, or no surgery that would use it.
    """
    found = find_class_map(train.get("init_class_map"))
    if found is not None and not train.get("init_surgery"):
        raise ValueError(f"train.init_class_map={found.name} has no effect without train.init_surgery=True")
    return found
