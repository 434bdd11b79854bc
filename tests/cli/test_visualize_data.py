"""``querydet visualize data``."""

from PIL import Image


def test_training_data(cli, tmp_path, capsys):
    path = tmp_path / "batch.png"
    command = ["--config-file", "common/data/synthetic.py", "--output", str(path), "--num-images", "5"]
    overrides = [f"dataloader.train.dataset.root={tmp_path}", "dataloader.train.dataset.num_images=8"]
    assert cli("visualize_data").main([*command, *overrides]) == 0
    assert Image.open(path).size[0] > 1000
    lines = capsys.readouterr().out
    assert "| images                 |       8 |" in lines
    assert "| circle " in lines


def test_training_data_is_that_of_the_seed(cli, config, tmp_path):
    pictures = []
    for seed in (1, 1, 2):
        path = tmp_path / "batch.png"
        command = ["--config-file", config, "--output", str(path), "--num-images", "4", f"train.seed={seed}"]
        assert cli("visualize_data").main(command) == 0
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
