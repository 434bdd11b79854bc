"""What is loaded before the first result: modules that a purpose does not need are not imported for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import startup
from querydet.checkpoint import Checkpointer
from tests.engine.conftest import DINO_CONFIG
from tests.models import tiny_detector

ROOT = Path(__file__).resolve().parents[1]
# What only training, evaluation and pictures need, of others and of this package.
TRAINING = ("detectron2.engine", "querydet.engine", "tensorboard", "torch.utils.tensorboard")
PICTURES = ("matplotlib", "querydet.visualization")
OTHERS = ("hydra", "onnx", "pandas", "scipy", "sklearn", "timm", "transformers")


def modules_after(*steps: str) -> list[set[str]]:
    """Run steps of a program in a process of its own; return the names of loaded modules after each."""
    code = "import json, sys\n" + "".join(
        f"{step}\nprint('MODULES', json.dumps(sorted(sys.modules)))\n" for step in steps
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("MODULES ")]
    return [set(json.loads(line.removeprefix("MODULES "))) for line in lines]


def below(modules: set[str], packages: tuple[str, ...]) -> list[str]:
    """Names of loaded modules that are these or inside of these."""
    return sorted(name for name in modules if any(f"{name}.".startswith(f"{each}.") for each in packages))


def test_a_prediction_loads_nothing_of_training_or_pictures(tmp_path: Path) -> None:
    Checkpointer(tiny_detector("dino", num_classes=6), str(tmp_path), class_names=list("abcdef")).save("model")
    imported, built, detected = modules_after(
        "from querydet import Predictor",
        f"predictor = Predictor({DINO_CONFIG!r}, {str(tmp_path / 'model.pth')!r}, device='cpu')",
        "import numpy\npredictor(numpy.zeros((64, 96, 3), 'uint8'))",
    )
    unneeded = (*TRAINING, *PICTURES, *OTHERS)
    assert below(imported, (*unneeded, "querydet.modeling", "querydet.data.columns", "querydet.ops")) == []
    # The optimizer's function stands in the config, so that its module is loaded with it.
    solver = {"querydet.engine", "querydet.engine.solver"}
    assert [name for name in below(built, unneeded) if name not in solver] == []
    assert detected - built == set()


def test_a_process_is_timed_until_it_ends_or_its_work_is_done(tmp_path: Path) -> None:
    seconds, processor = startup.time_process(["-c", "import time; time.sleep(0.2)"])
    assert 0.2 <= seconds < 30
    assert 0 < processor < seconds
    seconds, _ = startup.time_process(["-c", "import time; time.sleep(60)"], lambda: True)
    assert seconds < 30
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        startup.time_process(["-c", "1 / 0"])


def test_the_first_round_does_not_count_and_the_slowest_help_of_a_kind_is_shown() -> None:
    calls: list[str] = []
    times = iter([(9.0, 9.0), (1.0, 0.5), (3.0, 1.0), (2.0, 0.9)])
    (row,) = startup.measure({"case": lambda: (calls.append("case"), next(times))[1]}, rounds=3)
    assert row == {"case": "case", "seconds": 2.0, "processor_seconds": 0.9}
    assert len(calls) == 4
    rows = [
        {"case": name, "seconds": 0.1, "processor_seconds": 0.1} for name in (*startup.commands(), startup.TRAINING)
    ]
    for row in rows:
        if row["case"] == "querydet zoo --help":
            row["seconds"] = 0.7
        if row["case"].endswith("import Predictor"):
            row["seconds"], row["processor_seconds"] = 0.35, 0.3
    table = startup.make_table({"rows": rows})
    assert "| `querydet COMMAND --help` | 0.70 | 0.10 |" in table
    assert "| `querydet --help` | 0.10 | 0.10 |" in table
    assert "beyond these | 0.25 | 0.20 |" in table
    assert len(table.splitlines()) == 10


def test_every_command_and_tool_is_a_case() -> None:
    names = set(startup.commands())
    assert {"querydet --help", "querydet visualize model --help", "tools/check_binary.py --help"} <= names
    assert len({name for name in names if name.startswith("tools/")}) == len(list((ROOT / "tools").glob("*.py")))
