"""The wheel: what is in it, and that it works without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = (
    *("querydet", "configs", "projects", "benchmarks"),
    *("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"),
)
SCRIPT = """
import sys
import querydet.config
assert sys.argv[1] in querydet.config.__file__, querydet.config.__file__
cfg = querydet.config.load_config("projects/dino/configs/dino_r50_4scale_12ep.py", ["train.max_iter=5"])
assert cfg.train.max_iter == 5
"""


def run(*command, cwd, **environment):
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that the wheel was unpacked into, built from a copy of the checkout with the rests of an old build."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, source / name)
    for name in ("renamed.py", "_configs/configs/renamed.py"):
        stale = source / "build" / "lib" / "querydet" / name
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.write_text("")
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", str(folder))
    command = (sys.executable, "-m", "pip", "wheel", *options, ".")
    status, output = run(*command, cwd=source, QUERYDET_NO_EXTENSION="1")
    assert status == 0, output
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    shutil.rmtree(source)
    return folder / "site"


@pytest.mark.slow
def test_wheel_holds_the_configs_and_nothing_of_an_earlier_build(installed):
    names = {path.relative_to(installed).as_posix() for path in installed.rglob("*.py")}
    assert "querydet/_configs/configs/common/train.py" in names
    assert not [name for name in names if name.endswith("renamed.py")]


@pytest.mark.slow
def test_wheel_holds_the_command_the_types_and_the_published_counts(installed):
    (entries,) = installed.glob("*.dist-info/entry_points.txt")
    assert "querydet = querydet.cli.commands:main" in entries.read_text()
    assert (installed / "querydet" / "py.typed").is_file()
    assert (installed / "querydet" / "_configs" / "benchmarks" / "published" / "model_facts.json").is_file()
    assert (installed / "querydet" / "_configs" / "projects" / "dino" / "tables.yaml").is_file()


@pytest.mark.slow
def test_installed_package_loads_its_configs_from_any_folder(installed, tmp_path):
    status, output = run(sys.executable, "-c", SCRIPT, str(installed), cwd=tmp_path, PYTHONPATH=str(installed))
    assert status == 0, output
    status, output = run(sys.executable, "-m", "querydet", "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert status == 0, output
    assert "--config-file" in output


def test_missing_detectron2_is_explained(tmp_path):
    # neither the environment's packages nor its .pth files
    status, output = run(sys.executable, "-S", "-c", "import querydet", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert status == 1
    assert "ModuleNotFoundError: querydet needs Detectron2" in output
    assert "pip install" in output
