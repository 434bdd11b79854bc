"""What is loaded before the first result: modules that a purpose does not need are not imported for it."""

import json
import subprocess
import sys
from pathlib import Path

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
