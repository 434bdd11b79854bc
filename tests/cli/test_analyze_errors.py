"""``querydet errors`` on files, with pictures."""

import json

import pytest
import torch
from PIL import Image

from querydet.utils.run_lengths import encode_masks

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]


@pytest.fixture
def data(tmp_path):
    """Two images with a cat each, and detections: a cat, a dog on the other cat, and one on nothing."""
    images = []
    for number in (1, 2):
        Image.new("RGB", (120, 80), "gray").save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 120, "height": 80})
    box = [10, 10, 40, 40]
    annotations = [
        {"id": number, "image_id": number, "category_id": 3, "bbox": box, "area": 1600, "iscrowd": 0}
        for number in (1, 2)
    ]
    truth = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found = [
        {"image_id": 1, "category_id": 3, "bbox": box, "score": 0.9},
        {"image_id": 2, "category_id": 7, "bbox": box, "score": 0.8},
        {"image_id": 2, "category_id": 3, "bbox": [80, 50, 20, 20], "score": 0.7},
    ]
    (tmp_path / "results.json").write_text(json.dumps(found))
    return tmp_path


def test_from_files(cli, data, capsys):
    command = [str(data / "results.json"), "--annotations", str(data / "truth.json"), "--images", str(data)]
    assert cli("analyze_errors").main([*command, "--output", str(data / "out")]) == 0
    text = capsys.readouterr().out
    assert "+ classification" in text
    assert "worst.png" in text
    analysis = json.loads((data / "out" / "errors.json").read_text())
    assert analysis["sizes"]["all"]["counts"]["classification"] == 1
    assert analysis["sizes"]["all"]["counts"]["background"] == 1
    assert analysis["confusion"]["matrix"] == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert [each["image_id"] for each in analysis["worst"]] == [2, 1]
    for name in ("costs", "precision", "confusion", "worst"):
        assert len(set(Image.open(data / "out" / f"{name}.png").convert("L").resize((64, 64)).tobytes())) > 10


def test_without_images_nothing_is_drawn_on_them(cli, data, capsys):
    (data / "1.png").unlink()
    assert cli("analyze_errors").main([str(data / "results.json"), "--annotations", str(data / "truth.json")]) == 0
    assert (data / "errors" / "costs.png").is_file()
    assert "worst.png" not in capsys.readouterr().out


def test_a_run_knows_its_test_set(cli, config, toy_data, tmp_path):
    from querydet.config import load_config, save_config

    run = tmp_path / "run"
    (run / "inference").mkdir(parents=True)
    save_config(load_config(config), str(run / "config.yaml"))
    (run / "inference" / "coco_instances_results.json").write_text("[]")
    assert cli("analyze_errors").main([str(run), "--worst", "1", "dataloader.test.batch_size=1"]) == 0
    analysis = json.loads((run / "inference" / "errors" / "errors.json").read_text())
    assert analysis["sizes"]["all"]["AP"] == 0
    assert analysis["sizes"]["all"]["counts"]["missed"] == analysis["sizes"]["all"]["objects"] > 0


def add_masks(data, holes=0):
    """Give objects and detections masks that fill their boxes; those of the detections with a hole."""

    def run_lengths(box, hole=0):
        mask = torch.zeros(1, 80, 120, dtype=torch.bool)
        x, y, w, h = box
        mask[0, y : y + h, x : x + w] = True
        mask[0, y + 1 : y + 1 + hole, x + 1 : x + 1 + hole] = False
        return encode_masks(mask)[0]

    truth, found = (json.loads((data / name).read_text()) for name in ("truth.json", "results.json"))
    for item in truth["annotations"]:
        item["segmentation"] = run_lengths(item["bbox"])
    for item in found:
        item["segmentation"] = run_lengths(item["bbox"], holes)
    (data / "truth.json").write_text(json.dumps(truth))
    (data / "results.json").write_text(json.dumps(found))


def test_masks_are_compared_where_wanted(cli, data):
    add_masks(data, holes=35)  # IoU of 0.23
    command = [str(data / "results.json"), "--annotations", str(data / "truth.json"), "--images", str(data)]
    counts = {}
    for iou_type in ("bbox", "segm"):
        folder = data / iou_type
        assert cli("analyze_errors").main([*command, "--output", str(folder), "--iou-type", iou_type]) == 0
        analysis = json.loads((folder / "errors.json").read_text())
        assert analysis["iou_type"] == iou_type
        counts[iou_type] = analysis["sizes"]["all"]["counts"]
        assert (folder / "worst.png").is_file()
    assert (counts["bbox"]["classification"], counts["bbox"]["localisation"]) == (1, 0)
    assert (counts["segm"]["both"], counts["segm"]["localisation"], counts["segm"]["missed"]) == (1, 1, 1)


def test_masks_that_are_missing_are_said(cli, data):
    command = [str(data / "results.json"), "--annotations", str(data / "truth.json"), "--iou-type", "segm"]
    before = (data / "results.json").read_text()
    add_masks(data)
    (data / "results.json").write_text(before)
    with pytest.raises(ValueError, match=r"has no masks \(segmentation\).*--iou-type bbox"):
        cli("analyze_errors").main(command)


def test_images_of_another_size(cli, data):
    from detectron2.data.detection_utils import SizeMismatchError

    Image.new("RGB", (60, 40)).save(data / "2.png")
    command = [str(data / "results.json"), "--annotations", str(data / "truth.json"), "--images", str(data)]
    with pytest.raises(SizeMismatchError, match="Mismatched image shape"):
        cli("analyze_errors").main(command)


def test_what_is_missing_is_said(cli, data, capsys):
    main = cli("analyze_errors").main
    with pytest.raises(ValueError, match=r"no config\.yaml beside .*give --config-file, or --annotations"):
        main([str(data / "results.json")])
    with pytest.raises(FileNotFoundError, match="coco_instances_results"):
        main([str(data)])
    with pytest.raises(SystemExit):
        main([str(data / "results.json"), "--images", str(data)])
    assert "--images belongs to --annotations" in capsys.readouterr().err


def test_help(cli, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli("analyze_errors").main(["--help"])
    assert "localisation    the right class, but a poor box" in capsys.readouterr().out
