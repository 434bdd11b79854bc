"""Nothing is called that a config from others names, unless it is a known part or was allowed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.config import LazyCall
from omegaconf import OmegaConf

from querydet.config import get_config, load_config
from querydet.config.safe_yaml import load_yaml
from querydet.modeling.losses import L1Loss
from querydet.utils import targets
from querydet.utils.lazy import instantiate
from querydet.utils.targets import VARIABLE, check_targets, full_name, short_name, target_problem, trust

ROOT = Path(__file__).resolve().parents[2]
LOSS = {"_target_": "querydet.modeling.losses.L1Loss", "weight": 2.0}


@pytest.fixture(autouse=True)
def nothing_trusted(monkeypatch):
    monkeypatch.setattr(targets, "_trusted", set())
    monkeypatch.delenv(VARIABLE, raising=False)


def command(mark):
    return {"_target_": "subprocess.check_call", "args": ["touch", str(mark)]}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda node: node,
        lambda node: [node],
        lambda node: (node,),
        lambda node: {"_target_": L1Loss, "weight": node},
        lambda node: {"a": {"b": [{"c": node}]}},
        lambda node: {"_target_": node},
        OmegaConf.create,
        lambda node: OmegaConf.create({"a": node, "b": "${a}"}).b,
        lambda node: OmegaConf.create([[node]]),
        lambda node: {"x": OmegaConf.create({"a": "os.system", "b": {"_target_": "${a}", "command": "true"}})["b"]},
    ],
)
def test_the_gate_stands_where_things_are_built_whatever_holds_them(tmp_path, wrap):
    mark = tmp_path / "ran"
    with pytest.raises(ValueError, match=r"refused to call .*, which is (no known|not the name)"):
        instantiate(wrap(command(mark)))
    assert not mark.exists()


def test_a_value_that_became_a_reference_is_refused():
    with pytest.raises(ValueError, match="a value that refers to another one"):
        check_targets({"_target_": L1Loss, "weight": "${oc.env:HOME}"})


def test_known_parts_and_those_of_programs_are_built(tmp_path, monkeypatch):
    assert instantiate(LOSS).weight == 2.0
    assert instantiate({"_target_": dict, "a": 1}) == {"a": 1}  # the class itself: only a program can put it there
    counter = {"_target_": "collections.Counter"}
    with pytest.raises(ValueError, match=f"{VARIABLE}=collections"):
        instantiate(counter)
    monkeypatch.setenv(VARIABLE, "collections")
    assert instantiate(counter) == {}
    monkeypatch.delenv(VARIABLE)
    trust(["collections.Counter"])
    assert instantiate(counter) == {}


def test_names_in_a_config_in_python_are_trusted(tmp_path):
    (tmp_path / "own.py").write_text("model = {'_target_': 'collections.Counter'}\n")
    assert instantiate(get_config(str(tmp_path / "own.py")).model) == {}


def test_an_argument_allows_what_is_built_later(tmp_path):
    (tmp_path / "own.yaml").write_text("model: {_target_: collections.Counter}\n")
    assert instantiate(load_yaml(str(tmp_path / "own.yaml"), allow=["collections"]).model) == {}


def test_only_packages_of_known_parts_are_imported():
    """A name that is refused must not run the module that it names."""
    code = """
import sys
from querydet.utils.targets import target_problem
before = set(sys.modules)
for name in ("antigravity.x", "this.s", "idlelib.idle.main", "torch.utils.benchmark.Timer", "querydet.cli.train.main",
             "querydet.modeling.losses.os.system", "antigravity.FocalLoss", "torch.utils.benchmark.ReLU"):
    assert target_problem(name), name
new = {name for name in set(sys.modules) - before if not name.startswith("querydet.modeling")}
assert not new & {"antigravity", "this", "idlelib", "torch.utils.benchmark", "querydet.cli.train"}, new
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=ROOT)


@pytest.mark.parametrize("target", ["", " os.system", "os.system ", "\uff4fs.system", "os..system", "1.x", 5, None, []])
def test_what_is_no_name_is_no_target(target):
    assert target_problem(target) in (
        "which is not the name of a class or function",
        "which is no known part of a detector",
    )


def test_everything_is_built_through_the_gate():
    """No module of the project builds nodes with Detectron2's own function."""
    found = []
    for path in [*(ROOT / "querydet").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detectron2"):
                found += [path.relative_to(ROOT).as_posix() for name in names if name == "instantiate"]
    assert found == ["querydet/utils/lazy.py"]


def test_an_override_of_one_s_own_builds_own_parts(tmp_path):
    cfg = load_config(
        "quick/dino_synthetic.py", ["model.criterion.rules.decoder.losses.l1._target_=collections.Counter"]
    )
    assert instantiate({**cfg.model.criterion.rules.decoder.losses.l1, "weight": 1}) == {"weight": 1}


def test_names_of_known_parts_are_made_full_and_others_are_left():
    assert (
        full_name("querydet.DINO")
        == full_name("querydet.modeling.meta_arch.DINO")
        == "querydet.modeling.meta_arch.dino.DINO"
    )
    assert full_name("torch.nn.ReLU") == "torch.nn.modules.activation.ReLU"
    assert full_name("antigravity.DINO") == "antigravity.DINO"
    assert "antigravity" not in sys.modules


def test_short_names_are_without_their_module():
    assert short_name(OmegaConf.create(LOSS)) == "L1Loss"
    assert short_name(LazyCall(L1Loss)(weight=2.0)) == "L1Loss"
    assert [short_name(node) for node in (OmegaConf.create({"weight": 2.0}), None, "L1Loss")] == ["", "", ""]
