"""The tools that only draw."""

import json

import pytest
from PIL import Image


def test_ground_truth_beside_predictions(tool, config, weights, tmp_path):
    path = tmp_path / "grid.png"
    command = ["--config-file", config, "--weights", weights, "--output", str(path), "--num-images", "2"]
    assert tool("visualize_predictions").main([*command, "--threshold", "0"]) == 0
    assert Image.open(path).size[0] > 1000


def test_training_data(tool, tmp_path, capsys):
    path = tmp_path / "batch.png"
    command = ["--config-file", "common/data/synthetic.py", "--output", str(path), "--num-images", "5"]
    overrides = [f"dataloader.train.dataset.root={tmp_path}", "dataloader.train.dataset.num_images=8"]
    assert tool("visualize_data").main([*command, *overrides]) == 0
    assert Image.open(path).size[0] > 1000
    lines = capsys.readouterr().out
    assert "| images                 |       8 |" in lines
    assert "| circle " in lines


def test_training_data_is_that_of_the_seed(tool, config, tmp_path):
    pictures = []
    for seed in (1, 1, 2):
        path = tmp_path / "batch.png"
        command = ["--config-file", config, "--output", str(path), "--num-images", "4", f"train.seed={seed}"]
        assert tool("visualize_data").main(command) == 0
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_curves(tool, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"iteration": 1, "total_loss": 2.0}))
    assert tool("plot_curves").main([str(tmp_path)]) == 0
    assert (tmp_path / "curves.png").is_file()
    chosen = tmp_path / "chosen.png"
    assert tool("plot_curves").main([f"x={tmp_path}", "--metrics", "total_*", "--output", str(chosen)]) == 0
    assert Image.open(chosen).size != Image.open(tmp_path / "curves.png").size
    with pytest.raises(FileNotFoundError, match="no metrics"):
        tool("plot_curves").main([str(tmp_path / "nowhere")])


@pytest.mark.parametrize(
    "name", ["predict", "visualize_predictions", "visualize_data", "plot_curves", "plot_candidates"]
)
def test_help(tool, name, capsys):
    with pytest.raises(SystemExit, match="0"):
        tool(name).main(["--help"])
    assert f"tools/{name}.py" in capsys.readouterr().out
