"""Curves from the metrics of a run, also of one that was killed or resumed."""

import json

import pytest
from PIL import Image

from querydet.visualization import plot_curves, read_metrics


def write_run(folder, lines, tail=""):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text("\n".join([*(json.dumps(line) for line in lines), tail]))
    return str(folder)


LINES = [
    {"iteration": 9, "total_loss": 5.0, "lr": 0.1},
    {"iteration": 19, "total_loss": 4.0, "bbox/AP": 1.0, "bbox/AP50": 3.0, "bbox/APl": -1.0},
    {"iteration": 29, "total_loss": float("nan"), "bbox/AP": 2.0, "note": "text"},
]


def test_scalars_by_iteration(tmp_path):
    metrics = read_metrics(write_run(tmp_path / "run", LINES))
    assert metrics["total_loss"] == {9: 5.0, 19: 4.0}  # NaN left out
    assert metrics["bbox/AP"] == {19: 1.0, 29: 2.0}
    assert metrics["lr"] == {9: 0.1}
    assert "bbox/APl" not in metrics  # no ground truth
    assert "note" not in metrics
    assert read_metrics(str(tmp_path / "run" / "metrics.json")) == metrics


def test_a_resumed_run_replaces_what_it_repeats(tmp_path):
    lines = [*LINES, {"iteration": 9, "total_loss": 7.0}, {"iteration": 14, "total_loss": 6.0}]
    series = read_metrics(write_run(tmp_path / "run", lines))["total_loss"]
    assert list(series.items()) == [(9, 7.0), (14, 6.0), (19, 4.0)]


def test_a_half_written_last_line_is_left_out(tmp_path):
    assert len(read_metrics(write_run(tmp_path / "run", LINES, tail='{"iteration": 39, "tot'))["total_loss"]) == 2


def test_a_damaged_line_is_named(tmp_path):
    run = write_run(tmp_path / "run", LINES)
    path = tmp_path / "run" / "metrics.json"
    path.write_text("garbage\n" + path.read_text())
    with pytest.raises(ValueError, match=r"metrics\.json, line 1, is not a line of metrics: 'garbage'"):
        read_metrics(run)


def test_missing_metrics_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metrics at .*give the output folder"):
        read_metrics(str(tmp_path))


def test_nothing_to_plot(tmp_path):
    run = write_run(tmp_path / "run", [{"iteration": 1, "lr": 0.1}])
    with pytest.raises(ValueError, match="nothing to plot: no total_loss"):
        plot_curves([run], str(tmp_path / "x.png"))
    with pytest.raises(ValueError, match="no runs"):
        plot_curves([], str(tmp_path / "x.png"))


def test_one_and_several_runs_are_plotted(tmp_path):
    runs = [write_run(tmp_path / name, LINES) for name in ("a", "b")]
    (tmp_path / "other").mkdir()
    runs.append(write_run(tmp_path / "other" / "a", LINES[:1]))
    for count in (1, 2, 3):
        path = tmp_path / "new" / f"{count}.png"
        plot_curves(runs[:count], str(path))
        assert Image.open(path).size[0] > 800
