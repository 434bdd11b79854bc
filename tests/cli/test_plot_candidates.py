"""``querydet plot candidates``."""

import json

import pytest
from PIL import Image

from querydet.cli import plot_candidates


def test_models_are_compared_in_one_picture(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        by_rank = {"objects": 3, "IoU": [80.0, 50.0], "score": [30.0, 10.0]}
        (tmp_path / name / "candidates.json").write_text(json.dumps({"IoU": 1, "by_rank": by_rank}))
    path = tmp_path / "new" / "ranks.png"
    assert plot_candidates.main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    assert Image.open(path).size[0] > 300
    with pytest.raises(SystemExit, match="2"):
        plot_candidates.main([str(tmp_path / "a")])
