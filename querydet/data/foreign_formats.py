"""Json files of other formats than COCO's, recognised by their keys, so that an error can name them."""

import reprlib
from collections.abc import Collection
from typing import Any

# keys that entries of a format have, the most special formats first
OF_LIST = (
    ({"image_id", "category_id", "bbox", "score"}, "detections, as an evaluation writes them: give the annotations"),
    ({"file_name", "annotations", "height", "width"}, "Detectron2's dataset dicts: register them in Detectron2"),
    ({"filename", "ann"}, "MMDetection's middle format: export COCO"),
    ({"data", "annotations"}, "Label Studio's own json: export COCO"),
    ({"image", "annotations"}, "Create ML's format: export COCO"),
    ({"image_id", "category_id", "bbox"}, "annotations without images and categories"),
)
OF_OBJECT = (
    ({"shapes", "imagePath"}, "labelme's json of one image: convert all of them to one COCO json"),
    ({"_via_img_metadata"}, "a project of VGG Image Annotator: export COCO"),
)
OF_VALUE = (
    ({"filename", "regions"}, "VGG Image Annotator's own json: export COCO"),
    ({"images", "annotations"}, "several COCO files in one: write each into a file of its own"),
)


def describe(content: Any) -> str:
    """Return what a json is that is not a COCO one: its format if it is known, else what it holds.

    Args:
        content: the parsed file.
    """
    if isinstance(content, list):
        first = content[0] if content else None
        keys = _keys(first)
        known = _known(keys, OF_LIST)
        kind = f"a list of {len(content)}" + (f", each with {_shown(keys)}" if keys else "")
        return f"found {kind}{known}"
    keys = _keys(content)
    known = _known(keys, OF_OBJECT)
    if not known and keys:
        known = _known(_keys(next(iter(content.values()))), OF_VALUE)
    return f"found {_shown(keys) if keys else type(content).__name__}{known}"


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _known(keys: Collection[str], formats: Collection[tuple[set[str], str]]) -> str:
    return next((f"; it looks like {name}" for need, name in formats if need <= set(keys)), "")


def _shown(keys: list[str]) -> str:
    return ", ".join(reprlib.repr(key) for key in keys[:6]) + (", ..." if len(keys) > 6 else "")
