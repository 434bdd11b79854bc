"""install.sh: what it repeats."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("sh", "cat", "cksum", "dirname", "find", "grep", "ls", "sort")


@pytest.fixture
def install(tmp_path):
    """Runs a copy of the script with a Python that only writes down its arguments; returns what it was asked to do."""
    for folder in ("tools", "ops", "venv/bin", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "install.sh", tmp_path / "tools")
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "requirements-dev.txt", "ops/schema.cpp"):
        shutil.copy(ROOT / (name if "/" not in name else "ops/csrc/schema.cpp"), tmp_path / name)
    for name in NEEDED:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    python = tmp_path / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    python.chmod(0o755)

    def run():
        (tmp_path / "asked").write_text("")
        command = ["sh", "tools/install.sh", "venv"]
        subprocess.run(command, cwd=tmp_path, env={"PATH": str(tmp_path / "bin")}, check=True, capture_output=True)
        return (tmp_path / "asked").read_text()

    return run


def test_nothing_is_installed_twice_but_a_new_compiler_builds_the_extension(install, tmp_path):
    assert "install --quiet --no-build-isolation --no-deps -e ." in install()
    assert "pip" not in install()
    compiler = tmp_path / "bin" / "c++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    asked = install()
    assert "-e ." in asked
    assert "requirements-dev.txt" not in asked
    assert "pip" not in install()
