"""Rules of file names: COCO's, LVIS's of both versions, Objects365's."""

import pytest

from querydet.data.image_paths import set_file_names

ADDRESS = "http://images.cocodataset.org/train2017/000000391895.jpg"
OLD = "COCO_val2014_000000397133.jpg"
LONG = "images/v1/patch8/objects365_v1_00420917.jpg"


@pytest.mark.parametrize(
    ("rule", "image", "expected"),
    [
        ("auto", {"file_name": "a.jpg", "coco_url": ADDRESS}, "a.jpg"),
        ("auto", {"coco_url": ADDRESS}, "train2017/000000391895.jpg"),
        ("file_name", {"file_name": OLD, "coco_url": ADDRESS}, OLD),
        ("coco_url", {"file_name": OLD, "coco_url": ADDRESS}, "train2017/000000391895.jpg"),
        ("coco_url", {"file_name": OLD}, "000000397133.jpg"),
        ("coco_url", {"file_name": "other.jpg", "coco_url": ""}, "other.jpg"),
        ("last_two", {"file_name": LONG}, "patch8/objects365_v1_00420917.jpg"),
        ("last_two", {"file_name": "patch8/b.jpg"}, "patch8/b.jpg"),
        ("last_two", {"file_name": "b.jpg"}, "b.jpg"),
    ],
)
def test_names_by_rule(rule, image, expected):
    images = [image]
    set_file_names(images, rule)
    assert images[0]["file_name"] == expected


@pytest.mark.parametrize("images", [None, 3, [3, None, []], [{"file_name": 3}, {"file_name": None}]])
@pytest.mark.parametrize("rule", ["auto", "file_name", "coco_url", "last_two"])
def test_what_is_no_image_is_left_to_the_checks(images, rule):
    set_file_names(images, rule)


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="file_names has to be one of auto, file_name, coco_url, last_two, got 'url'"):
        set_file_names([], "url")
