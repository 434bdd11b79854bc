"""Outlines of a json, together: every broken one is named, others are repaired as boxes are, and counted."""

import copy
import logging
import re

import numpy as np
import pytest

from querydet.data import class_names, load_coco
from querydet.data.coco_checks import find_problems
from querydet.data.mask_checks import MASK_REPAIRS, OutlineReader
from querydet.data.masks import to_bitmap
from tests.data.outlined import outlined, with_boxes, with_outlines
from tests.data.storages import pytest_generate_tests  # noqa: F401
from tests.data.test_masks import BROKEN, list_counts, text_counts

SIZE = {"height": 30, "width": 40}
OUTLINES = {0: [[1, 2, 11, 2, 11, 22, 1, 22]], 5: [[5, 5, 11, 5, 11, 12, 5, 12]], 6: [[0.5, 1.5, 8.5, 1.5, 8.5, 10.5]]}


@pytest.fixture
def content(coco_json):
    for item in coco_json["annotations"]:
        item["segmentation"] = OUTLINES[item["id"]]
    return coco_json


def read(content, **options):
    outlines = OutlineReader(**options)
    report = find_problems(content, "a.json", outlines=outlines, check_boxes=options.get("check_boxes", True))
    return outlines, report.kinds


def load(write_coco, content, **options):
    return load_coco(*write_coco(content), masks=True, **options)


def test_annotations_have_outlines_as_arrays_or_run_lengths(write_coco, content):
    bitmap = to_bitmap(OUTLINES[6], 50, 20)
    content["annotations"][2]["segmentation"] = list_counts(bitmap)
    dataset = load(write_coco, content)
    first, crowd = dataset[0]["annotations"]
    assert [array.tolist() for array in first["segmentation"]] == OUTLINES[0]
    assert first["segmentation"][0].dtype == np.float64
    assert (crowd["iscrowd"], len(crowd["segmentation"])) == (1, 1)
    assert dataset[1]["annotations"][0]["segmentation"] == text_counts(bitmap)
    assert [record["has_masks"] for record in dataset] == [True] * 3
    assert first["area"] == 123.0  # that of the json


def test_without_masks_the_dicts_are_as_of_a_json_without_outlines(write_coco, content):
    plain = copy.deepcopy(content)
    for item in plain["annotations"]:
        del item["segmentation"]
    paths = write_coco(content)
    masked, boxes = load_coco(*paths, masks=True), load_coco(*paths)
    assert masked.name == f"{boxes.name}_masks"
    assert list(load_coco(*paths)) == list(boxes)  # each kind is cached for itself
    assert "segmentation" in load_coco(*paths, masks=True)[0]["annotations"][0]
    without = [
        {
            **{key: value for key, value in record.items() if key != "has_masks"},
            "annotations": [
                {key: value for key, value in item.items() if key != "segmentation"} for item in record["annotations"]
            ],
        }
        for record in masked
    ]
    assert without == list(boxes)
    assert list(load_coco(*write_coco(plain))) == list(boxes)
    assert class_names(masked) == class_names(boxes)


@pytest.mark.parametrize("value", [BROKEN[name][0] for name in BROKEN] + [[[5, 5]], None, {"size": [1, 1]}])
def test_without_masks_outlines_are_not_read(write_coco, content, value):
    clean = list(load_coco(*write_coco(content, "clean"))[0]["annotations"])
    content["annotations"][0]["segmentation"] = value
    assert load_coco(*write_coco(content))[0]["annotations"] == clean


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_outline_stops_with_annotation_and_image(write_coco, content, name):
    value, message = BROKEN[name]
    content["annotations"][0]["segmentation"] = value
    with pytest.raises(ValueError, match=r"annotation 0 of image 7 \(a\.png\)") as error:
        load(write_coco, content)
    assert "1 problem in the annotations" in str(error.value)
    assert re.search(message, str(error.value))


def test_all_problems_are_in_one_report(write_coco, content, storage):
    content["annotations"][0]["segmentation"] = [[1, 2, 3, 4, 5, 6, 7]]
    content["annotations"][1]["segmentation"] = {"size": [40, 30], "counts": [1200]}
    content["annotations"][2]["segmentation"] = [["a"] * 6]
    content["annotations"][2]["category_id"] = 99
    if storage == "columns":  # outlines are read once the structure is right
        with pytest.raises(ValueError, match=r"1 problem in the annotations\n.*unknown category_id"):
            load(write_coco, content)
    content["annotations"][2]["category_id"] = 99 if storage == "memory" else 90
    with pytest.raises(ValueError, match="4 problems" if storage == "memory" else "3 problems") as error:
        load(write_coco, content)
    text = str(error.value)
    assert "odd number of coordinates: annotation 0 of image 7 (a.png) (7 in a polygon)" in text
    assert "run lengths that cannot be used: annotation 5 of image 7 (a.png) (its size is [40, 30]" in text
    assert "no finite numbers: annotation 6 of image 9 (b.png)" in text
    assert ("unknown category_id" in text) is (storage == "memory")


@pytest.mark.parametrize(
    ("outline", "repair"),
    [
        (None, "none"),
        ([], "none"),
        ([[]], "none"),
        ([[1, 2, 3, 4]], "none"),
        ({"size": [30, 40], "counts": [1200]}, "none"),
        ([[50, 2, 60, 2, 60, 9]], "outside"),
        ([[30, 25, 39, 25, 39, 29]], "apart"),
    ],
)
def test_an_object_without_an_outline_of_its_own_is_dropped_and_counted(write_coco, content, outline, repair, caplog):
    content["annotations"][0]["segmentation"] = outline
    with caplog.at_level(logging.WARNING):
        dataset = load(write_coco, content)
    assert [item["id"] for item in dataset[0]["annotations"]] == [5]
    assert f"1 annotations {MASK_REPAIRS[repair][1]} (annotations 0)" in caplog.text
    assert len(load_coco(*write_coco(content))[0]["annotations"]) == 2  # as ever, without masks


def test_a_key_that_is_missing_is_no_outline(write_coco, content):
    del content["annotations"][0]["segmentation"]
    assert [item["id"] for item in load(write_coco, content)[0]["annotations"]] == [5]


@pytest.mark.parametrize("crowd", [{"iscrowd": 1}, {"iscrowd": 0, "ignore": 1}])
def test_a_region_without_an_outline_is_its_box(write_coco, content, crowd):
    content["annotations"][1].update(segmentation=[], bbox=[5, 5, 6, 7], **crowd)
    region = load(write_coco, content)[0]["annotations"][1]
    expected = np.zeros((30, 40), bool)
    expected[5:12, 5:11] = True
    assert np.array_equal(to_bitmap(region["segmentation"], 30, 40), expected)
    assert region["iscrowd"] == 1


def test_polygons_of_two_points_are_left_out_and_counted(write_coco, content, caplog):
    content["annotations"][0]["segmentation"] = [[1, 2, 3, 4], *OUTLINES[0]]
    with caplog.at_level(logging.WARNING):
        dataset = load(write_coco, content)
    assert [array.tolist() for array in dataset[0]["annotations"][0]["segmentation"]] == OUTLINES[0]
    assert f"1 annotations {MASK_REPAIRS['points'][1]} (annotations 0)" in caplog.text


def test_outlines_without_pixels_are_kept_and_counted(write_coco, content, caplog):
    content["annotations"][0]["segmentation"] = [[7.1, 7.1, 7.2, 7.1, 7.15, 7.2]]
    with caplog.at_level(logging.WARNING):
        dataset = load(write_coco, content)
    assert len(dataset[0]["annotations"]) == 2
    assert f"1 annotations {MASK_REPAIRS['thin'][1]} (annotations 0)" in caplog.text


def test_an_object_of_one_pixel_is_an_object(write_coco, content, caplog):
    content["annotations"][0].update(segmentation=[[7, 7, 8, 7, 8, 8, 7, 8]], bbox=[7, 7, 1, 1])
    with caplog.at_level(logging.WARNING):
        dataset = load(write_coco, content)
    assert to_bitmap(dataset[0]["annotations"][0]["segmentation"], 30, 40).sum() == 1
    assert not caplog.text


@pytest.mark.parametrize("box", [None, [], [3, 3, 0, 5], [3, 3, -2, 5], [float("nan"), 3, 4, 5], "absent"])
@pytest.mark.parametrize("form", ["polygons", "run lengths"])
def test_a_box_that_is_missing_or_without_area_is_that_of_the_outline(write_coco, content, box, form, caplog):
    item = content["annotations"][0]
    item["bbox"] = box
    if box == "absent":
        del item["bbox"]
    if form == "run lengths":
        item["segmentation"] = text_counts(to_bitmap(OUTLINES[0], 30, 40))
    with caplog.at_level(logging.WARNING):
        dataset = load(write_coco, content)
    assert dataset[0]["annotations"][0]["bbox"] == [1, 2, 10, 20]
    assert f"1 annotations {MASK_REPAIRS['box'][1]} (annotations 0)" in caplog.text


@pytest.mark.parametrize("box", [None, [], "absent"])
def test_without_masks_a_missing_box_stops_as_ever(write_coco, content, box):
    content["annotations"][0]["bbox"] = box
    with pytest.raises(ValueError, match="bbox is not a list of four numbers"):
        load_coco(*write_coco(content))


@pytest.mark.parametrize("outline", [None, [[1, 2]], {"size": [30, 40], "counts": [1200]}])
def test_neither_box_nor_outline_stops(content, outline):
    content["annotations"][0].update(bbox=None, segmentation=outline)
    assert "bbox is not a list of four numbers" in read(content)[1]


def test_a_box_of_texts_stops_with_an_outline_too(content):
    content["annotations"][0]["bbox"] = ["1", 2, 3, 4]
    assert "bbox is not a list of four numbers" in read(content)[1]


def test_a_box_of_an_outline_that_leaves_the_image_is_clipped(write_coco, content):
    content["annotations"][0].update(bbox=None, segmentation=[[-5, -5, 20, -5, 20, 45, -5, 45]])
    assert load(write_coco, content)[0]["annotations"][0]["bbox"] == [0, 0, 20, 30]


def test_a_file_without_any_outline_is_refused(write_coco, coco_json):
    with pytest.raises(ValueError, match=r"no annotation has an outline.*all 2 objects.*dataset.masks=False"):
        load(write_coco, coco_json)


def test_a_file_without_objects_or_of_images_alone_is_loaded(write_coco, content):
    content["annotations"] = []
    assert len(load(write_coco, content)) == 3
    del content["annotations"]
    assert not load(write_coco, content, need_annotations=False).annotated


def test_outlines_that_are_fractions_are_refused():
    content = with_outlines(outlined(), lambda x, y, w, h: (x / w, y / h))
    outlines, kinds = read(content)
    assert list(kinds) == ["segmentation has fractions of the image (0 to 1) instead of pixels"]
    assert not outlines.repairs
    assert not read(outlined())[1]


@pytest.mark.parametrize(
    "content",
    [
        with_boxes(outlined(), lambda x, y, w, h, W, H: (x, y, x + w, y + h)),
        with_boxes(outlined(), lambda x, y, w, h, W, H: (x, H - y - h, w, h)),
        with_outlines(outlined(), lambda x, y, w, h: (2 * x, 2 * y)),
    ],
    ids=["corners", "upward", "twice"],
)
def test_boxes_and_outlines_that_contradict_each_other_are_refused_once(content):
    _, kinds = read(content)
    assert len(kinds) == 1
    (kind,), ((place,),) = kinds, kinds.values()
    assert "bbox" in kind
    assert "not read" not in place
    assert not read(content, check_boxes=False)[1]


def test_broken_entries_of_other_kinds_do_not_disturb(content):
    content["annotations"] += ["x", {"id": "a"}, {"id": 77, "image_id": 99, "segmentation": 5}, {"id": 78}]
    content["images"] += [{"id": 50}, 3]
    content["annotations"].append({"id": 79, "image_id": 50, "segmentation": 5})
    outlines, kinds = read(content)
    assert set(outlines.segmentations) == {0, 5, 6}
    assert not any("segmentation" in kind for kind in kinds)
