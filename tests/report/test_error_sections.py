"""Runs with results that can be analysed, and without."""

import json

from querydet.evaluation.coco_backend import CocoBackend
from querydet.report import Options, make_report
from querydet.visualization.runs import read_groups
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
