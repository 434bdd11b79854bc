"""Which runs repeat each other, and their mean and spread."""

import json
import logging

import numpy as np
import pytest

from querydet.visualization.curves import draw_loss_and_ap, draw_metrics, select_metrics
from querydet.visualization.runs import mean_and_spread, read_groups, read_run, shared_settings

CONFIG = """
train: {{seed: {seed}, output_dir: out/{seed}, max_iter: {steps}}}
loader: {{seed: "${{train.seed}}", other_seed: 1}}
"""


@pytest.fixture
def run(tmp_path):
    """Makes a run's folder."""

    def make(name, seed=None, steps=100, values=((9, 1.0), (19, 2.0)), **others):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        lines = [{"iteration": step, "total_loss": value, "bbox/AP": value, **others} for step, value in values]
        (folder / "metrics.json").write_text("\n".join(json.dumps(line) for line in lines))
        if seed is not None:
            (folder / "config.yaml").write_text(CONFIG.format(seed=seed, steps=steps))
        return str(folder)

    return make


def members(groups):
    return {group.label: [run.label for run in group.runs] for group in groups}


def test_runs_that_differ_in_the_seed_alone_are_a_group(run):
    folders = [run("dino_seed0", 0), run("deta-1", 1, steps=200), run("dino_seed1", 1), run("no_config_1")]
    folders += [run("deta-2", 2, steps=200), run("no_config_2")]
    found = read_groups(folders)
    assert members(found) == {
        "dino": ["dino_seed0", "dino_seed1"],
        "deta": ["deta-1", "deta-2"],
        "no_config_1": ["no_config_1"],
        "no_config_2": ["no_config_2"],
    }
    assert [group.title() for group in found][::2] == ["dino (2 runs)", "no_config_1"]
    assert len(read_groups(folders, separate=True)) == 6


def test_seed_and_folder_belong_to_a_run_wherever_they_stand():
    def settings(seed, folder, rate=1):
        config = {"train.seed": seed, "train.output_dir": repr(folder), "data.seed": "1", "lr": str(rate)}
        config |= {"evaluator.folder": repr(folder + "/matching"), "evaluator.output_dir": repr("elsewhere" + seed)}
        return shared_settings(config)

    shared = {"data.seed": "1", "lr": "1", "evaluator.folder": "'RUN/matching'"}
    assert settings("1", "out/a") == settings("2", "out/b") == shared
    assert settings("1", "out/a") != settings("1", "out/a", rate=2)


def test_names_group_by_hand(run):
    folders = [run("a", 0), run("b", 1), run("c", 2)]
    named = [f"x={folders[0]}", f"x={folders[2]}", folders[1]]
    assert members(read_groups(named)) == {"x": ["a", "c"], "b": ["b"]}
    odd = run("k=v")
    assert members(read_groups([odd])) == {"k=v": ["k=v"]}


def test_equal_labels_become_paths(run):
    folders = [run("first/dino", 0), run("second/dino", 0, steps=5)]
    assert [group.label for group in read_groups(folders)] == folders


def test_mean_and_spread_by_hand():
    spread = mean_and_spread([{0: 1.0, 10: 3.0, 20: 5.0}, {0: 3.0, 10: 5.0, 20: 7.0}])
    assert spread.iterations.tolist() == [0, 10, 20]
    assert spread.mean.tolist() == [2, 4, 6]
    assert spread.deviation == pytest.approx([np.sqrt(2)] * 3)  # of a sample of two
    single = mean_and_spread([{0: 1.0, 5: 2.0}])
    assert (single.mean.tolist(), single.deviation.tolist()) == ([1, 2], [0, 0])


def test_the_mean_goes_as_far_as_all_runs_and_between_their_iterations():
    spread = mean_and_spread([{0: 0.0, 10: 10.0, 20: 20.0}, {5: 5.0, 15: 15.0}])
    assert spread.iterations.tolist() == [5, 10, 15]
    assert spread.mean.tolist() == [5, 10, 15]
    assert len(mean_and_spread([{0: 0.0}, {5: 1.0}]).iterations) == 0


def test_what_is_drawn(run):
    groups = read_groups([run("a_1", 1), run("a_2", 2, values=((9, 3.0), (19, 4.0))), run("b", 3, steps=7)])
    loss, ap = draw_loss_and_ap(groups).axes
    assert [line.get_label() for line in loss.lines] == ["a (2 runs)", "b"]
    assert loss.lines[0].get_ydata().tolist() == [2, 3]
    assert [line.get_label() for line in ap.lines] == ["a (2 runs): AP (last 3.0 ± 1.4)", "b: AP (last 2.0)"]
    assert len(loss.collections) == len(ap.collections) == 1  # the band of the two
    (lower, upper), width = ap.collections[0].get_datalim(ap.transData).get_points()[:, 1], np.sqrt(2)
    assert (lower, upper) == pytest.approx((2 - width, 3 + width))


def test_runs_without_a_common_iteration_are_drawn_apart(run):
    groups = read_groups([run("a_1", 1), run("a_2", 2, values=((50, 1.0), (60, 2.0)))])
    assert len(draw_loss_and_ap(groups).axes[0].lines) == 2


def test_metrics_by_name_and_pattern(run):
    groups = read_groups([run("a", loss_class=1.0, loss_l1=2.0)])
    assert select_metrics(groups, ["bbox/AP", "loss_*"]) == ["bbox/AP", "loss_class", "loss_l1"]
    assert [axes.get_title() for axes in draw_metrics(groups, ["loss_*"]).axes] == ["loss_class", "loss_l1"]
    with pytest.raises(ValueError, match=r"no run has a metric 'AP': they have total_loss, bbox/AP"):
        select_metrics(groups, ["AP"])


def test_bad_input(run, tmp_path, caplog):
    with pytest.raises(ValueError, match="no runs are given"):
        read_groups([])
    folder = run("a")
    with pytest.raises(ValueError, match="a/ is given twice"):
        read_groups([folder, f"x={folder}/"])
    (tmp_path / "a" / "config.yaml").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert read_run(folder, "a").config == {}
    assert "cannot be read and is left out" in caplog.text
    (tmp_path / "a" / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is not json"):
        read_run(folder, "a")
