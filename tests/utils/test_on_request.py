"""Packages whose names are imported when they are used: what is loaded when, and that their lists agree."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from querydet.utils.on_request import names_on_request

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in sorted((ROOT / "querydet").rglob("__init__.py"))
    if "names_on_request(" in path.read_text(encoding="utf-8")
]


def typed_imports(package: str) -> dict[str, str]:
    """Names that type checkers see in a package, with the modules that define them."""
    source = ROOT.joinpath(*package.split("."), "__init__.py").read_text(encoding="utf-8")
    (block,) = [n for n in ast.parse(source).body if isinstance(n, ast.If) and isinstance(n.test, ast.Name)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of two modules, of which one breaks when it is imported."""
    folder = tmp_path / "two_modules"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from querydet.utils.on_request import names_on_request\n"
        "other = 1\n"
        "__getattr__, __dir__ = names_on_request(\n"
        "    __name__, {'two_modules.whole': 'A b', 'two_modules.broken': 'C', 'two_modules.part': 'part'})\n"
    )
    (folder / "whole.py").write_text("class A: pass\nb = 2\n")
    (folder / "part.py").write_text("")
    (folder / "broken.py").write_text("raise RuntimeError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "two_modules"
    for name in [name for name in sys.modules if name.partition(".")[0] == "two_modules"]:
        del sys.modules[name]


def test_a_module_is_loaded_when_one_of_its_names_is_used(package: str) -> None:
    found = importlib.import_module(package)
    assert set(dir(found)) >= {"A", "b", "C", "part", "other"}
    assert "two_modules.whole" not in sys.modules
    assert found.b == 2
    assert found.A is sys.modules["two_modules.whole"].A
    assert found.part is sys.modules["two_modules.part"]
    assert "A" in vars(found)  # so that it is looked for once
    with pytest.raises(RuntimeError, match="broken"):
        _ = found.C
    with pytest.raises(AttributeError, match="module 'two_modules' has no attribute 'D'"):
        _ = found.D


def test_the_functions_are_those_of_the_package_that_is_named() -> None:
    import_name, list_names = names_on_request("tests", {"tests.models": "COMPOSITIONS"})
    assert "COMPOSITIONS" in list_names()
    with pytest.raises(AttributeError, match="module 'tests' has no attribute 'other'"):
        import_name("other")


def test_the_packages_are_found() -> None:
    assert {"querydet", "querydet.data", "querydet.evaluation", "querydet.visualization"} <= set(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_and_programs_see_the_same_names(name: str) -> None:
    found = importlib.import_module(name)
    typed = typed_imports(name)
    assert set(found.__all__) - {"__version__"} == set(typed)
    for public, module in typed.items():
        assert getattr(found, public) is getattr(importlib.import_module(module), public)
