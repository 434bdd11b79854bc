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
