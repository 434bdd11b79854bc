"""The analysis of a data set: by hand, and confusions as hotcoco counts them."""

import json

import numpy as np
import pytest

from querydet.evaluation import CocoEvaluator
from querydet.evaluation.error_analysis import Settings, analyze_errors, confusion
from querydet.evaluation.image_detections import detection_rows
from querydet.utils.run_lengths import encode_masks
from tests.evaluation.hand_made import make_dataset
from tests.evaluation.masked import noisy, random_dataset
from tests.evaluation.test_errors import HERE, THERE, objects, rows, shifted, varied

SIZE = (1000, 1000)


def test_an_analysis_by_hand():
    dataset = make_dataset(
        [{"bbox": HERE}, {"bbox": THERE, "category_id": 1}], [{"bbox": HERE, "category_id": 1}], [], size=SIZE
    )
    found = {1: rows((0, HERE, 0.9), (0, THERE, 0.8)), 3: rows((1, HERE, 0.7), (1, THERE, 0.1))}
    seen = []
    analysis = analyze_errors(dataset, found, Settings(worst=2), progress=lambda images: seen.append(1) or images)
    assert seen == [1]
    every = analysis["sizes"]["all"]
    assert (every["AP"], every["objects"], every["detections"]) == (50.0, 3, 4)
    assert every["AP"] == pytest.approx(analysis["coco"]["AP50"])
    counts = {"classification": 1, "localisation": 0, "both": 0, "duplicate": 0, "background": 2, "missed": 1}
    assert every["counts"] == counts
    # corrected, it comes first: precision 1 up to recall 1/2
    assert every["gain"]["classification"] == pytest.approx(100 * 51 / 101 / 2)
    assert analysis["sizes"]["small"]["AP"] == -1
    assert analysis["classes"]["class 0"]["AP"] == 100
    assert analysis["classes"]["class 1"]["counts"]["missed"] == 1
    assert analysis["classes"]["class 2"] | {"gain": None, "counts": None} == {
        **{"AP": -1.0, "AP50:95": -1.0, "objects": 0, "detections": 0, "gain": None, "counts": None}
    }
    assert analysis["confusion"]["labels"] == ["class 0", "class 1", "class 2", "background"]
    assert analysis["confusion"]["matrix"] == [[1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]  # 0.1 is hidden
    assert [(each["image_id"], each["badness"]) for each in analysis["worst"]] == [(2, 1.0), (1, 0.8)]
    assert len(analysis["curves"]["iou"]["0.50"]) == len(analysis["curves"]["recall"]) == 101
    assert list(analysis["curves"]["classes"]) == ["class 0", "class 1"]
    json.dumps(analysis)


def test_without_detections_and_without_objects():
    nothing = analyze_errors(make_dataset([HERE], size=SIZE), {})
    assert nothing["sizes"]["all"]["AP"] == nothing["coco"]["AP"] == 0
    assert nothing["sizes"]["all"]["counts"]["missed"] == 1
    empty = analyze_errors(make_dataset([], size=SIZE), {1: rows((0, HERE, 0.9))})
    assert empty["sizes"]["all"]["AP"] == empty["coco"]["AP"] == -1
    assert empty["sizes"]["all"]["gain"]["background"] == -1
    assert empty["sizes"]["all"]["counts"]["background"] == 1
    assert empty["curves"]["iou"]["0.50"] == []


@pytest.mark.parametrize("seed", range(6))
def test_confusions_are_hotcoco_s(seed):
    hotcoco = pytest.importorskip("hotcoco", reason="hotcoco, which counts confusions too, is not installed")
    content, found = varied(seed, crowd=0)
    truth = hotcoco.COCO(content)
    theirs = hotcoco.COCOeval(truth, truth.load_res(found), "bbox").confusion_matrix(iou_thr=0.5, max_det=1000)
    total = np.zeros((5, 5), dtype=np.int64)
    for image in content["images"]:
        items = [item for item in content["annotations"] if item["image_id"] == image["id"]]
        wanted = objects(*((item["category_id"] - 1, item["bbox"]) for item in items))
        detections = found[found[:, 0] == image["id"]][:, 1:] - [0, 0, 0, 0, 0, 1]
        total += confusion(detections[np.argsort(-detections[:, 4])], wanted, 4, 0.5)
    assert total.tolist() == theirs["matrix"].tolist()


def test_confusions_leave_crowd_regions_out():
    truth = objects((0, HERE, "crowd"))
    assert confusion(rows((0, HERE, 0.9), (1, HERE, 0.8)), truth, 2, 0.5).tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert confusion(rows((0, shifted(5), 0.9)), objects((1, HERE)), 2, 0.5).tolist()[1] == [1, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positive": 0.1, "background": 0.2}, "0 <= background < positive <= 1"),
        ({"min_score": 2}, r"min_score must lie in \[0, 1\], got 2"),
        ({"max_dets": 0}, "max_dets must be at least 1"),
        ({"worst": -1}, "worst at least 0"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_a_data_set_without_images():
    with pytest.raises(ValueError, match="no images"):
        analyze_errors(make_dataset(), {})


@pytest.mark.parametrize("seed", range(3))
def test_an_analysis_of_masks_has_coco_s_metrics_of_masks(seed):
    dataset = random_dataset(seed)
    found = noisy(dataset, seed)
    rows = {image_id: detection_rows(instances) for image_id, instances in found.items()}
    masks = {image_id: encode_masks(instances.pred_masks) for image_id, instances in found.items()}
    evaluator = CocoEvaluator(dataset=dataset)
    evaluator.reset()
    for image_id, instances in found.items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    expected = evaluator.evaluate()
    analysis = analyze_errors(dataset, rows, Settings(min_score=0.2), masks=masks)
    assert analysis["iou_type"] == "segm"
    assert analysis["coco"]["AP"] == pytest.approx(expected["segm"]["AP"], abs=1e-9)
    assert analysis["coco"]["AP50"] == pytest.approx(expected["segm"]["AP50"], abs=1e-9)
    for size, name in (("small", "APs"), ("medium", "APm"), ("large", "APl")):
        assert analysis["coco"][name] == pytest.approx(expected["segm"][name], abs=1e-9), size
    assert analysis["sizes"]["all"]["AP"] == pytest.approx(expected["segm"]["AP50"], abs=1e-9)
    boxes = analyze_errors(dataset, rows, Settings(min_score=0.2))
    assert boxes["iou_type"] == "bbox"
    assert boxes["coco"]["AP"] == pytest.approx(expected["bbox"]["AP"], abs=1e-9)
    assert boxes["confusion"] != analysis["confusion"]
    shown = sum((image[:, 4] >= 0.2).sum() for image in rows.values())
    assert np.array(analysis["confusion"]["matrix"])[:, :-1].sum() <= shown
    json.dumps(analysis)


def test_masks_need_a_data_set_with_masks():
    with pytest.raises(ValueError, match="was loaded without masks: load it with masks=True"):
        analyze_errors(make_dataset([HERE], size=SIZE), {}, masks={})
