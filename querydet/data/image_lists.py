"""Lists of categories that the images of a json carry, as LVIS has them of what is absent from an image."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from querydet.data.entries import is_id
from querydet.data.problem_report import ProblemReport


def check_image_lists(
    images: Any, keys: Sequence[str], category_ids: Collection[int], report: ProblemReport, needed: bool = True
) -> None:
    """Check lists of category ids of the images of a json.

    Args:
        images: of the json; entries without an id are passed over.
        keys: names of the lists.
        category_ids: of the json.
        report: gets the problems.
        needed: whether an image without a list is one; the test sets of LVIS have none.
    """
    for image in images if keys else ():
        if not isinstance(image, dict) or not is_id(image.get("id")):
            continue
        for key in keys:
            value = image.get(key)
            if value is None:
                if not needed:
                    continue
                report.add(f"{key} is missing", f"image {image['id']}")
            elif not isinstance(value, list) or not all(map(is_id, value)):
                report.add(f"{key} is not a list of category ids", f"image {image['id']}")
            elif unknown := [identifier for identifier in value if identifier not in category_ids]:
                report.add(f"{key} has unknown categories", f"image {image['id']} ({unknown[0]})")


def class_lists(image: Mapping[str, Any], keys: Sequence[str], index_of: Mapping[int, int]) -> dict[str, list[int]]:
    """Return lists of an image as class indices, sorted; categories that are no classes are left out.

    Args:
        image: checked entry of a json; those of a file without annotations may lack the lists, which are then empty.
        keys: names of the lists.
        index_of: class index by category id.
    """
    return {key: sorted({index_of[number] for number in image.get(key) or () if number in index_of}) for key in keys}
