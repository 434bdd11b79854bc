"""Which size boxes are of is read from all of them; where both fit, nothing is said."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from querydet.data.doctor import NOTE, STOPS, Treatment, examine
from querydet.data.masks import to_bitmap, to_run_lengths
from querydet.data.repairs import problems_left, repair
from querydet.data.resized import sizes_of_boxes, within_a_corner, within_a_frame
from tests.data.outlined import outlined, with_boxes


def found_sizes(content, change):
    return {image["id"]: change(image["width"], image["height"]) for image in content["images"]}


def write_images(folder, sizes):
    for name, (width, height) in sizes.items():
        Image.fromarray(np.full((height, width, 3), 99, np.uint8)).save(folder / f"{name}.png")


@pytest.mark.parametrize(
    ("change", "meant"),
    [
        (lambda w, h: (w * 2, h * 2), "annotated"),
        (lambda w, h: (w // 2, h // 2), "annotated"),
        (lambda w, h: (w * 11 // 10, h * 11 // 10), ""),  # both sizes hold all boxes and are filled
        (lambda w, h: (w * 2, h * 3), ""),  # no resized copy
        (lambda w, h: (w, h // 2), ""),
    ],
)
def test_images_that_were_resized(change, meant):
    content = outlined(40)
    assert sizes_of_boxes(content, found_sizes(content, change)) == meant


@pytest.mark.parametrize("change", [lambda w, h: (h, w), lambda w, h: (w * 2, h * 2), lambda w, h: (w // 3, h // 3)])
def test_sizes_that_are_wrong(change):
    content = outlined(40)
    found = found_sizes(content, lambda w, h: (w, h))
    for image in content["images"]:
        image["width"], image["height"] = change(image["width"], image["height"])
    assert sizes_of_boxes(content, found) == "found"


def test_few_boxes_say_nothing():
    content = outlined(4)
    assert sizes_of_boxes(content, found_sizes(content, lambda w, h: (w * 2, h * 2))) == ""


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_annotations_of_resized_images_are_scaled(tmp_path, factor):
    content = outlined(30)
    sizes = found_sizes(content, lambda w, h: (int(w * factor), int(h * factor)))
    write_images(tmp_path, sizes)
    fixed, done = repair(content, str(tmp_path))
    assert not problems_left(fixed, "x", str(tmp_path))
    assert any("scaled to the files" in kind for kind in done)
    for image in fixed["images"]:
        assert (image["width"], image["height"]) == sizes[image["id"]]
    for before, after in zip(content["annotations"], fixed["annotations"], strict=True):
        assert after["bbox"] == pytest.approx([value * factor for value in before["bbox"]])
        assert after["area"] == pytest.approx(before["area"] * factor**2)
        assert after["segmentation"][0] == pytest.approx([value * factor for value in before["segmentation"][0]])
    assert repair(fixed, str(tmp_path))[1] == {}


def test_masks_of_run_lengths_are_scaled_or_left_out(tmp_path):
    content = outlined(30)
    for item in content["annotations"]:
        size = next(image for image in content["images"] if image["id"] == item["image_id"])
        item["segmentation"] = to_run_lengths(item["segmentation"], size["height"], size["width"])
    content["annotations"][4]["segmentation"] = {"size": [1, 1], "counts": "broken"}
    sizes = found_sizes(content, lambda w, h: (w * 2, h * 2))
    write_images(tmp_path, sizes)
    fixed, _ = repair(content, str(tmp_path))
    assert "segmentation" not in fixed["annotations"][4]
    for before, after in zip(content["annotations"], fixed["annotations"], strict=True):
        if before["id"] != 4:
            height, width = before["segmentation"]["size"]
            expected = to_bitmap(before["segmentation"], height, width).repeat(2, axis=0).repeat(2, axis=1)
            assert np.array_equal(to_bitmap(after["segmentation"], 2 * height, 2 * width), expected)


def test_swapped_sizes_are_repaired(tmp_path):
    content = outlined(30)
    write_images(tmp_path, found_sizes(content, lambda w, h: (w, h)))
    wrong = copy.deepcopy(content)
    for image in wrong["images"]:
        image["width"], image["height"] = image["height"], image["width"]
    assert repair(wrong, str(tmp_path))[0] == content


def test_the_doctor_says_which(tmp_path):
    content = outlined(30)
    write_images(tmp_path, found_sizes(content, lambda w, h: (w * 2, h * 2)))
    path = tmp_path / "data.json"
    path.write_text(json.dumps(content))
    found = examine(str(path), str(tmp_path), Treatment(), "header").findings
    assert found["boxes are of the annotated sizes, which are not those of the files"].gravity == STOPS


def test_a_scale_that_is_not_the_images_is_a_hint():
    content = outlined(60, sizes=((320, 240), (240, 180)))
    percent = with_boxes(content, lambda x, y, w, h, W, H: (x / W * 100, y / H * 100, w / W * 100, h / H * 100))
    assert within_a_frame(percent["images"], percent["annotations"]) == 100
    assert within_a_frame(content["images"], content["annotations"]) == 0
    small = outlined(60, sizes=((100, 100),))
    assert within_a_frame(small["images"], small["annotations"]) == 0


def test_boxes_in_the_upper_left_quarter_are_a_hint(tmp_path):
    content = outlined(60)
    half = with_boxes(content, lambda x, y, w, h, W, H: (x / 2, y / 2, w / 2, h / 2))
    for entry in half["annotations"]:
        del entry["segmentation"]
    assert within_a_corner(half["images"], half["annotations"])
    assert not within_a_corner(content["images"], content["annotations"])
    path = tmp_path / "data.json"
    path.write_text(json.dumps(half))
    found = examine(str(path), str(tmp_path), Treatment(), "none")
    assert found.findings["all boxes lie in the upper left quarter of their images"].gravity == NOTE
    assert not found.stops
