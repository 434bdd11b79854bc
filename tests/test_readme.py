"""What the README says: its worked example runs, its tables are those of the data files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from querydet.config import load_config
from tests.models import make_inputs, make_small

ROOT = Path(__file__).resolve().parents[1]


def code_blocks() -> dict[str, str]:
    """Python blocks by the file name in their first line."""
    blocks = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return dict(blocks)


def test_the_worked_example_trains_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in code_blocks().items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = load_config(str(tmp_path / "dino_quality.py"))
    torch.manual_seed(0)
    detector = instantiate(make_small(cfg.model)).train()
    inputs = make_inputs([(96, 128), (80, 64)], [3, 0])
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-4)
    totals = []
    for _ in range(2):
        losses = detector(inputs)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        totals.append(sum(losses.values()).item())
    assert totals[1] < totals[0]


def test_the_tables_are_those_of_the_data_files() -> None:
    result = subprocess.run(
        [sys.executable, "tools/update_readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
