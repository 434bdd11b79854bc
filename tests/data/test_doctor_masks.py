"""The doctor names what is wrong with outlines, and counts the masks."""

import json

import pytest

from querydet.data.diagnosis import CHANGES, NOTE, STOPS, Treatment
from querydet.data.doctor import examine
from querydet.data.doctor_masks import EFFECTS, NOT_READ
from querydet.data.mask_checks import MASK_REPAIRS
from tests.data.outlined import outlined, with_boxes, with_outlines
from tests.data.test_outline_conflict import WRONG_BOXES


@pytest.fixture
def diagnose(tmp_path):
    def run(content, **options):
        path = tmp_path / "data.json"
        path.write_text(json.dumps(content))
        return examine(str(path), str(tmp_path), Treatment(**options), "none")

    return run


@pytest.mark.parametrize("masks", [False, True])
def test_a_right_set_has_as_many_masks_as_objects(diagnose, masks):
    found = diagnose(outlined(60), masks=masks)
    assert found.findings == {}
    assert (found.masks, found.objects) == (60, 60)


def test_boxes_alone_are_no_finding_unless_masks_are_used(diagnose):
    content = outlined(60)
    for item in content["annotations"]:
        del item["segmentation"]
    found = diagnose(content)
    assert (found.findings, found.masks) == ({}, 0)
    found = diagnose(content, masks=True)
    assert found.findings["no annotation has an outline (segmentation)"].gravity == STOPS


def test_broken_outlines_stop_the_run_that_reads_them(diagnose):
    content = outlined(60)
    content["annotations"][7]["segmentation"] = [[1, 2, 3, 4, 5, 6, 7]]
    content["annotations"][8]["segmentation"] = {"size": [1, 1], "counts": "x"}
    kinds = ("segmentation has an odd number of coordinates", "segmentation has run lengths that cannot be used")
    found = diagnose(content, masks=True)
    assert found.stops
    assert [found.findings[kind].gravity for kind in kinds] == [STOPS, STOPS]
    found = diagnose(content)
    assert not found.stops
    assert [(found.findings[kind].gravity, found.findings[kind].effect) for kind in kinds] == [(NOTE, NOT_READ)] * 2
    assert found.masks == 58


@pytest.mark.parametrize(
    ("repair", "change"),
    [
        ("none", {"segmentation": []}),
        ("outside", {"segmentation": [[900, 900, 950, 900, 950, 950]]}),
        ("points", {"segmentation": [[1, 2, 3, 4], [0, 0, 160, 0, 160, 120, 0, 120]]}),
        ("thin", {"segmentation": [[7.1, 7.1, 7.2, 7.1, 7.15, 7.2]], "bbox": [7, 7, 1, 1]}),
        ("region", {"segmentation": [], "iscrowd": 1}),
        ("apart", {"segmentation": [[0, 0, 10, 0, 10, 10]], "bbox": [100, 100, 20, 20]}),
        ("box", {"bbox": [3, 3, 0, 0]}),
    ],
)
def test_repairs_are_findings(diagnose, repair, change):
    content = outlined(60)
    content["annotations"][7].update(change)
    kind, _ = MASK_REPAIRS[repair]
    found = diagnose(content, masks=True).findings[kind]
    assert (found.gravity, found.effect, found.places) == (CHANGES, EFFECTS[repair], ["annotation 7"])
    if repair != "apart":  # which is looked for where both are used
        assert diagnose(content).findings[kind].gravity == NOTE


def test_what_contradicts_the_boxes_is_one_finding_that_stops(diagnose):
    for content in (
        with_outlines(outlined(30), lambda x, y, W, H: (2 * x, 2 * y)),
        with_outlines(outlined(30), lambda x, y, W, H: (x / W, y / H)),
        with_boxes(outlined(30), WRONG_BOXES["half the scale"]),
    ):
        found = diagnose(content, masks=True)
        (finding,) = (each for each in found.findings.values() if each.gravity == STOPS)
        assert "segmentation" in finding.kind
        assert not any("not read" in each.effect for each in found.findings.values())


@pytest.mark.parametrize("content", [[], {}, {"images": 3, "annotations": [{"segmentation": 3}]}, {"annotations": 3}])
@pytest.mark.parametrize("masks", [False, True])
def test_what_is_no_coco_json_is_passed_over(diagnose, content, masks):
    assert diagnose(content, masks=masks).masks == 0
