"""The public API: its names, what importing them costs, their types, and the page that lists them."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import querydet
from querydet.cli.commands import COMMANDS
from querydet.engine.evaluation import build_evaluation
from tests.engine.conftest import DINO_CONFIG

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    "DETA", "DINO", "DNDETR", "GroupDETR", "MSDETR", "Predictor", "QueryDetector", "__version__", "build_model",
    "evaluate", "get_config", "load_config", "model_zoo", "train",
}  # fmt: skip


def python(code: str) -> str:
    """Output of a program in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def typed_imports() -> dict[str, str]:
    """Modules of the names that type checkers see."""
    (block,) = [
        node
        for node in ast.parse((ROOT / "querydet" / "__init__.py").read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_the_public_names_are_these() -> None:
    assert set(querydet.__all__) == NAMES
    assert len(querydet.__all__) == len(NAMES)
    assert set(dir(querydet)) >= NAMES


def test_the_package_is_imported_without_torch_and_detectron2() -> None:
    heavy = "{'torch', 'torchvision', 'detectron2', 'numpy', 'omegaconf'}"
    assert python(f"import sys, querydet; dir(querydet); print(sorted({heavy} & sys.modules.keys()))") == "[]"


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_a_name_is_that_of_the_module_that_type_checkers_see(name: str) -> None:
    assert getattr(querydet, name) is getattr(importlib.import_module(typed_imports()[name]), name)


@pytest.mark.slow
def test_every_name_can_be_the_first_one_that_is_used() -> None:
    """Each in a process that has loaded torch and detectron2, and nothing of this package but the root."""
    code = """
import os, sys
import detectron2.config, detectron2.modeling, torchvision
import querydet

for name in querydet.__all__:
    sys.stdout.flush()
    if not os.fork():
        getattr(querydet, name)
        print(name, flush=True)
        os._exit(0)
    os.wait()
"""
    assert set(python(code).split()) == NAMES


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="module 'querydet' has no attribute 'no_such_name'"):
        _ = querydet.no_such_name  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Detector'"):
        from querydet import Detector  # type: ignore[attr-defined]  # noqa: F401


def test_every_name_is_documented_and_its_arguments_are_typed() -> None:
    for name in NAMES - {"__version__"}:
        value = getattr(querydet, name)
        assert inspect.getdoc(value), name
        if inspect.isfunction(value):
            arguments = [*inspect.signature(value).parameters, "return"]
            assert list(value.__annotations__) == arguments, name


def test_the_types_are_declared_to_be_there() -> None:
    assert (ROOT / "querydet" / "py.typed").read_text() == ""
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "import querydet\n"
        "reveal_type(querydet.load_config)\n"
        "reveal_type(querydet.DINO)\n"
        "reveal_type(querydet.Predictor.from_nothing)\n"
        "querydet.no_such_name\n"
    )
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", str(tmp_path / "use.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout
    assert re.search(r"def \(name: (builtins\.)?str, overrides: [\w.]*Sequence\[(builtins\.)?str\] =\)", printed), (
        printed
    )
    assert "querydet.modeling.meta_arch.dino.DINO" in printed
    assert '"type[Predictor]" has no attribute "from_nothing"' in printed
    assert 'Module has no attribute "no_such_name"' in printed


def rows(heading: str) -> list[list[str]]:
    """Cells of the table of the page whose first heading is this one."""
    (table,) = re.findall(
        rf"^\| {heading} \|.*\n\|[ -|]*\n((?:\|.*\n)+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE
    )
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


def test_the_page_lists_every_name_and_its_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_data: None
) -> None:
    examples = {name: example for name, _, example in rows("name")}
    assert set(examples) == NAMES
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from querydet.config import load_config\n"
        f"_config = load_config({DINO_CONFIG!r}, ['train.output_dir=output', 'train.device=cpu'])\n"
        "model, train, dataloader = _config.model, _config.train, _config.dataloader\n"
        "optimizer, lr_multiplier = _config.optimizer, _config.lr_multiplier\n"
    )
    Image.new("RGB", (96, 64), "gray").save("street.jpg")
    names = {"querydet": querydet, "build_evaluation": build_evaluation}
    for name, example in examples.items():
        assert f"querydet.{name}" in example
        if " = " in example:
            exec(example, names)
        else:
            assert eval(example, names), example
    assert "bbox" in names["results"]
    assert hasattr(names["found"], "pred_boxes")
    assert names["cfg"].model.num_classes == 80


def test_the_page_lists_every_command() -> None:
    assert rows("command") == [[name, command.about] for name, command in COMMANDS.items()]
