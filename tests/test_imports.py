"""How the modules of the package depend on each other: none needs another to be imported first, and there is no circle.

A package counts as its ``__init__.py``. Importing a module of another package runs that package's ``__init__.py`` too;
the packages that a module itself lies in are loaded by then, so that it may import its siblings.
"""

import ast
import contextlib
import gc
import graphlib
import importlib
import os
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

NAME = "querydet"
ROOT = Path(__file__).resolve().parents[1] / NAME
# The root package loads its public names on request; this one it defines before anything else.
CONSTANTS = {f"{NAME}.__version__"}


def find_modules() -> dict[str, Path]:
    """Return the files of all modules of the package by name."""
    modules = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def ancestors(name: str) -> list[str]:
    """Return the packages that a module lies in, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def imported_names(source: str, package: str) -> set[str]:
    """Return the dotted name of everything that is imported, also inside functions and under ``TYPE_CHECKING``.

    Args:
        source: code of a module.
        package: the package that relative imports start from.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def dependencies(name: str, source: str, modules: Mapping[str, object], is_package: bool = False) -> set[str]:
    """Return the modules that have to run before a module can.

    Args:
        name: dotted name of the module.
        source: its code.
        modules: all modules by name.
        is_package: whether the module is the ``__init__.py`` of a package.
    """
    own = {name, *ancestors(name)}
    found: set[str] = set()
    for imported in imported_names(source, name if is_package else name.rpartition(".")[0]) - CONSTANTS:
        module = imported if imported in modules else imported.rpartition(".")[0]
        if module in modules and imported not in own:
            found |= {module} | (set(ancestors(module)) - own)
    return found - {name}


def find_circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the modules of one circle of imports, the first one again at the end; empty when there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def graph_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the dependencies of modules that are no packages, from their code."""
    return {name: dependencies(name, source, sources) for name, source in sources.items()}


MODULES = find_modules()


def test_there_is_no_circle():
    graph = {
        name: dependencies(name, path.read_text(encoding="utf-8"), MODULES, path.name == "__init__.py")
        for name, path in MODULES.items()
    }
    circle = find_circle(graph)
    assert not circle, "each of these imports the one before it: " + ", ".join(circle)


@pytest.mark.parametrize(
    "hidden",
    [
        "import p.b",
        "from p.b import thing",
        "from p import b",
        "def function():\n    from p.b import thing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import thing",
        "from . import b",
        "from .b import thing",
    ],
)
def test_the_search_sees_a_circle_however_it_is_hidden(hidden):
    sources = {"p.a": hidden, "p.b": "from p.c import thing", "p.c": "from p.a import thing"}
    assert set(find_circle(graph_of(sources))) == {"p.a", "p.b", "p.c"}
    assert not find_circle(graph_of({**sources, "p.c": ""}))


def test_siblings_may_import_each_other_and_a_foreign_package_runs_as_a_whole():
    modules = dict.fromkeys(["p", "p.q", "p.q.a", "p.q.b", "p.r", "p.r.c"])
    assert dependencies("p.q.a", "from p.q.b import thing", modules) == {"p.q.b"}
    assert dependencies("p.q.a", "from p.r.c import thing", modules) == {"p.r", "p.r.c"}
    assert dependencies("p.q", "from p.q.a import thing", modules, is_package=True) == {"p.q.a"}
    assert dependencies("p.q.a", "from p.q import thing", modules) == {"p.q"}
    assert dependencies("p.q.a", "import p.q", modules) == set()  # it is loaded


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_no_public_name_hides_a_module(name):
    package = importlib.import_module(name)
    for module in pkgutil.iter_modules(package.__path__, f"{name}."):
        if module.name in MODULES:
            found = importlib.import_module(module.name)
            assert getattr(package, module.name.rpartition(".")[2]) is found


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    """Each in a process that has loaded what is not of this package, and nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    command = [sys.executable, "-W", "ignore", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    problems = [line for line in done.stdout.splitlines() if line not in MODULES]
    assert not problems, "\n".join(problems)
    assert set(done.stdout.splitlines()) == set(MODULES)


def import_first(name: str) -> None:
    """Print the names of a module and of all modules below it that can be imported first, else the problem.

    Python imports the packages that a module lies in before the module. So the processes form a tree, as the packages
    do: a process that has imported nothing but a package forks one for each of its members.
    """
    try:
        if not name.endswith("__main__"):  # which runs the command line
            importlib.import_module(name)
    except BaseException:
        print(f"{name}: {traceback.format_exc()}", flush=True)
        return
    print(name, flush=True)
    for member in MODULES:
        if member.rpartition(".")[0] != name:
            continue
        if member in sys.modules:  # the package has imported it, and this process is as if it had not been named
            import_first(member)
        elif child := os.fork():
            os.waitpid(child, 0)
        else:
            import_first(member)
            os._exit(0)


def import_others() -> None:
    """Import everything that the package needs of others, where it is installed."""
    for path in MODULES.values():
        for name in imported_names(path.read_text(encoding="utf-8"), ""):
            for module in (name.rpartition(".")[0], name):
                if module.partition(".")[0] not in (NAME, ""):
                    with contextlib.suppress(ImportError, ValueError):  # what a module holds is no module itself
                        importlib.import_module(module)
    assert not [name for name in sys.modules if name.partition(".")[0] == NAME]


if __name__ == "__main__":
    import_others()
    gc.disable()  # collecting would copy the memory that the processes share
    import_first(NAME)
