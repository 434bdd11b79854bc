"""Curves from the metrics of a run, also of one that was killed or resumed."""

import json

import pytest
from PIL import Image

from querydet.visualization import plot_curves, read_metrics
from querydet.visualization.curves import draw_loss_and_ap
from querydet.visualization.runs import read_groups


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


def test_results_of_masks_have_a_panel_of_their_own(tmp_path):
    masks = [{**line, "segm/AP": 5.0 + line["iteration"]} for line in LINES]
    masks[1]["segm/AP50"], masks[1]["segm/APs"] = 30.0, -1.0
    runs = [write_run(tmp_path / "masks", masks), write_run(tmp_path / "boxes", LINES)]
    assert "segm/APs" not in read_metrics(runs[0])  # no ground truth
    _, boxes, own = draw_loss_and_ap(read_groups(runs)).axes
    assert [line.get_label() for line in boxes.lines] == [
        "masks: AP50 (last 3.0)", "masks: AP (last 2.0)", "boxes: AP50 (last 3.0)", "boxes: AP (last 2.0)"
    ]  # fmt: skip
    assert [line.get_label() for line in own.lines] == [
        "masks: mask AP50 (last 30.0)", "masks: mask AP (last 34.0)"
    ]  # fmt: skip
    assert own.lines[1].get_ydata().tolist() == [14, 24, 34]
    assert (boxes.get_title(), own.get_title()) == ("validation", "validation, masks")
    assert len(draw_loss_and_ap(read_groups(runs[1:])).axes) == 2
    many = [write_run(tmp_path / f"run{number}", masks) for number in range(8)]
    assert [len(axes.lines) for axes in draw_loss_and_ap(read_groups(many)).axes[1:]] == [8, 8]  # AP alone


def test_masks_alone_are_plotted(tmp_path):
    run = write_run(tmp_path / "run", [{"iteration": 1, "segm/AP": 3.0}])
    plot_curves([run], str(tmp_path / "x.png"))
    assert Image.open(tmp_path / "x.png").size[0] > 1500
