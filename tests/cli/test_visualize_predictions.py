"""``querydet visualize predictions``."""

from PIL import Image


def test_ground_truth_beside_predictions(cli, config, weights, tmp_path):
    path = tmp_path / "grid.png"
    command = ["--config-file", config, "--weights", weights, "--output", str(path), "--num-images", "2"]
    assert cli("visualize_predictions").main([*command, "--threshold", "0"]) == 0
    assert Image.open(path).size[0] > 1000
