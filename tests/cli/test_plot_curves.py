"""``querydet plot curves``."""

import json

import pytest
from PIL import Image

from querydet.cli import plot_curves


def test_curves_are_drawn_into_the_run_or_a_given_file(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"iteration": 1, "total_loss": 2.0}))
    assert plot_curves.main([str(tmp_path)]) == 0
    assert (tmp_path / "curves.png").is_file()
    chosen = tmp_path / "chosen.png"
    assert plot_curves.main([f"x={tmp_path}", "--metrics", "total_*", "--output", str(chosen)]) == 0
    assert Image.open(chosen).size != Image.open(tmp_path / "curves.png").size
    with pytest.raises(FileNotFoundError, match="no metrics"):
        plot_curves.main([str(tmp_path / "nowhere")])
