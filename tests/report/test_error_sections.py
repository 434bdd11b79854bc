"""Runs with results that can be analysed, and without."""

import json

import numpy as np
import torch
from detectron2.config import instantiate

from querydet.config import load_config, save_config
from querydet.data.masks import to_bitmap
from querydet.evaluation.coco_backend import CocoBackend
from querydet.evaluation.error_analysis import Settings
from querydet.report import Options, make_report
from querydet.utils.run_lengths import encode_masks
from querydet.visualization.runs import read_groups
from tests.engine.conftest import CONFIG
from tests.report.pages import Page


def test_errors_of_the_runs_that_have_results(page, text):
    assert page.row("AP at IoU 0.5") == ["100.0"]
    assert page.row("number: missed") == ["0"]
    assert page.row("COCO's measures by") == [str(CocoBackend())]
    assert "no coco_instances_results.json: write one with" in text
    assert "The same for other." in text
    assert "broken.png cannot be read" in text


def test_results_that_do_not_fit_are_said(runs, tmp_path, page):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"iteration": 1, "total_loss": 1.0}))
    (folder / "coco_instances_results.json").write_text("[]")
    text = make_report(read_groups([str(folder)]))
    assert "could not be analysed" in text
    assert "config.yaml" in text
    assert "could not be analysed" not in make_report(read_groups([str(folder)]), Options(errors=False))
    Page(text)


def test_masks_are_analysed_beside_boxes_where_the_test_data_have_some(tmp_path, toy_data):
    cfg = load_config(CONFIG, [f"train.output_dir={tmp_path}", "dataloader.test.dataset.masks=True"])
    save_config(cfg, str(tmp_path / "config.yaml"))
    (tmp_path / "metrics.json").write_text(json.dumps({"iteration": 1, "total_loss": 1.0}))
    truth = []
    for record in instantiate(cfg.dataloader.test.dataset):
        for item in record["annotations"]:
            mask = to_bitmap(item["segmentation"], record["height"], record["width"])
            if len(truth) % 2:  # only its first row
                mask[np.flatnonzero(mask.any(axis=1))[0] + 1 :] = False
            entry = {"image_id": record["image_id"], "category_id": item["category_id"] + 1, "bbox": item["bbox"]}
            truth.append({**entry, "score": 0.9, "segmentation": encode_masks(torch.from_numpy(mask)[None])[0]})
    results = tmp_path / "coco_instances_results.json"
    results.write_text(json.dumps(truth))
    page = Page(make_report(read_groups([f"x={tmp_path}"]), Options(settings=Settings(worst=1))))
    boxes, masks = page.row("AP at IoU 0.5")
    assert float(boxes) == 100.0
    assert float(masks) < 100.0
    assert len(page.pictures) == 1 + 1 + 2 * 4  # training, both precisions; of each four figures
    results.write_text(json.dumps([{key: entry[key] for key in entry if key != "segmentation"} for entry in truth]))
    text = make_report(read_groups([f"x={tmp_path}"]))
    assert ", masks: " in text
    assert "could not be analysed: it has no masks" in text
