"""What the README says: its worked example runs, its tables are those of the data files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate
from PIL import Image

from querydet.checkpoint import Checkpointer
from querydet.config import load_config
from tests.models import assert_a_step_lowers_the_loss, make_small

ROOT = Path(__file__).resolve().parents[1]


def code_blocks() -> dict[str, str]:
    """Python blocks by the file name in their first line."""
    blocks = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return dict(blocks)


def test_the_lines_that_detect_run_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = code_blocks()["detect.py"]
    assert len([line for line in text.splitlines() if line]) <= 10
    torch.manual_seed(0)
    detector = instantiate(load_config("configs/quick/dino_synthetic.py").model)
    with torch.no_grad():
        for head in detector.heads.class_heads:
            head.bias.zero_()  # surely something is found
    names = [f"thing {index}" for index in range(detector.num_classes)]
    Checkpointer(detector, str(tmp_path), class_names=names).save("model_final")
    (tmp_path / "output" / "quickstart").mkdir(parents=True)
    (tmp_path / "model_final.pth").rename(tmp_path / "output" / "quickstart" / "model_final.pth")
    for name, size in (("a.jpg", (160, 120)), ("b.png", (100, 140))):
        Image.new("RGB", size, (90, 120, 30)).save(tmp_path / name)
    exec(compile(text, "detect.py", "exec"), {})
    assert re.match(r"thing \d 0\.\d\d \[", capsys.readouterr().out)
    assert {path.name for path in tmp_path.glob("found*.png")} == {"found0.png", "found1.png"}


def test_the_worked_example_trains_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in code_blocks().items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = load_config(str(tmp_path / "dino_quality.py"))
    torch.manual_seed(0)
    detector = instantiate(make_small(cfg.model)).train()
    assert_a_step_lowers_the_loss(detector)


def test_the_tables_are_those_of_the_data_files() -> None:
    result = subprocess.run(
        [sys.executable, "tools/update_readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
