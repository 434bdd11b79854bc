"""The doctor reports what the places of all boxes say, and stops only where the boxes are wrong."""

import json

import pytest

from querydet.data import load_coco
from querydet.data.diagnosis import CHANGES, NOTE, STOPS
from querydet.data.doctor import Treatment, examine
from tests.data.outlined import outlined, with_boxes, with_outlines
from tests.data.test_outline_conflict import WRONG_BOXES


@pytest.fixture
def diagnose(tmp_path):
    def run(content, **options):
        path = tmp_path / "data.json"
        path.write_text(json.dumps(content))
        return examine(str(path), str(tmp_path), Treatment(**options), "none")

    return run


def about(found, words):
    return [finding.gravity for finding in found.findings.values() if words in finding.kind]


def test_wrong_boxes_stop_the_run(tmp_path, diagnose):
    content = with_boxes(outlined(30), WRONG_BOXES["half the scale"])
    found = diagnose(content)
    assert found.stops
    assert about(found, "contradicts segmentation") == [STOPS]
    with pytest.raises(ValueError, match=r"bbox contradicts segmentation: the boxes are of a scale of 0\.5, 0\.5 to 1"):
        load_coco(str(tmp_path / "data.json"), str(tmp_path), check_files=False)
    found = diagnose(content, check_boxes=False)
    assert not found.stops
    assert about(found, "contradicts segmentation") == [CHANGES]


def test_wrong_outlines_are_noted(tmp_path, diagnose, caplog):
    content = with_outlines(outlined(30), lambda x, y, W, H: (2 * x, 2 * y))
    found = diagnose(content)
    assert not found.stops
    assert about(found, "contradicts segmentation") == [NOTE]
    load_coco(str(tmp_path / "data.json"), str(tmp_path), check_files=False)
    assert "segmentation is not read" in caplog.text


def test_outlines_as_fractions_are_noted(diagnose):
    found = diagnose(with_outlines(outlined(30), lambda x, y, W, H: (x / W, y / H)))
    assert not found.stops
    assert about(found, "segmentation has fractions") == [NOTE]


def test_a_right_set_has_nothing_of_the_kind(diagnose):
    found = diagnose(outlined(60))
    assert found.findings == {}


def test_ignored_regions_are_neither_objects_nor_silent(tmp_path, diagnose, caplog):
    content = outlined(30)
    for entry in content["annotations"][::3]:
        entry["ignore"] = 1
    found = diagnose(content)
    assert about(found, "ignore: 1") == [NOTE]
    assert sum(found.objects_of.values()) == 20
    records = load_coco(str(tmp_path / "data.json"), str(tmp_path), check_files=False)
    assert sum(item["iscrowd"] for record in records for item in record["annotations"]) == 10
    assert "10 annotations have ignore=1" in caplog.text
