"""The numbers in the tables of a report."""

import json

from querydet.report import Options, make_report
from querydet.visualization.runs import read_groups
from tests.report.pages import Page


def test_groups_stand_beside_each_other(page):
    assert page.row("AP") == ["21.0 ± 1.4", "24.0"]
    assert page.row("best AP") == ["21.0 ± 1.4", "24.0"]
    assert page.row("at iteration") == ["20", "20"]
    assert page.row("circle") == ["30.0", "30.0"]
    assert page.row("atd/ATD") == ["0.250", "0.250"]
    assert page.row("seconds of an iteration") == ["0.600", "0.600"]
    assert page.row("minutes, start to end") == ["7.0", "-"]
    assert page.row("train.max_iter") == ["20", "40"]
    assert ["", "dino (2 runs)", "other"] in page.rows
    starts = [row for row in page.rows if row[0] == "dino_1" and "abacus" in row]
    assert [row[1] for row in starts] == ["0", "10"]
    assert "abcdef0123" in starts[0]


def test_many_runs_stand_below_each_other(tmp_path):
    for number in range(7):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"iteration": 4, "bbox/AP": 10.0 * number}))
    page = Page(make_report(read_groups([str(each) for each in sorted(tmp_path.iterdir())]), Options(errors=False)))
    assert ["", "iterations", "AP", "best AP", "at iteration"] in page.rows
    assert ["run3", "5", "30.0", "30.0", "5"] in page.rows


def test_measures_of_masks_stand_below_those_of_boxes(tmp_path, page):
    lines = [
        {"iteration": 9, "bbox/AP": 10.0, "segm/AP": 8.0},
        {"iteration": 19, "bbox/AP": 9.0, "bbox/AP50": 20.0, "segm/AP": 7.0, "segm/AP50": 15.0, "segm/APs": -1.0},
    ]
    lines[-1] |= {"bbox/AP-circle": 9.0, "segm/AP-circle": 7.0, "atd/ATD": 0.5}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("\n".join(map(json.dumps, lines if name == "a" else lines[:1])))
    found = Page(make_report(read_groups([str(tmp_path / "a"), str(tmp_path / "b")]), Options(errors=False)))
    assert found.row("AP") == ["9.0", "10.0"]
    assert found.row("best AP") == ["10.0", "10.0"]
    assert found.row("mask AP") == ["7.0", "8.0"]
    assert found.row("mask AP50") == ["15.0", "-"]
    assert found.row("best mask AP") == ["8.0", "8.0"]
    assert found.row("at iteration, masks") == ["10", "10"]
    assert found.row("atd/ATD") == ["0.500", "-"]
    assert [row for row in found.rows if row[0] == "circle"] == [["circle", "9.0", "-"], ["circle", "7.0", "-"]]
    assert "mask APs" not in [row[0] for row in found.rows]  # no objects of the size
    assert not [row[0] for row in page.rows if "mask" in row[0] or "segm" in row[0]]  # of runs without masks
