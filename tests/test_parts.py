"""The contracts: every shipped part fulfils its Protocol, declares known traits alone, and hides no argument."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from querydet import traits
from querydet.config import get_config
from querydet.traits import TRAITS
from tests import conforming_parts
from tests.models import COMPOSITIONS

ROOT = Path(__file__).resolve().parents[1]
SLOTS = {
    "neck": conforming_parts.NECKS,
    "encoder": conforming_parts.ENCODERS,
    "selection": conforming_parts.SELECTIONS,
    "denoising": conforming_parts.DENOISING,
    "decoder": conforming_parts.DECODERS,
    "heads": conforming_parts.HEADS,
    "masks": conforming_parts.MASKS,
    "head": conforming_parts.MASK_HEADS,
    "criterion": conforming_parts.CRITERIA,
    "postprocess": conforming_parts.POSTPROCESSES,
    "assigner": conforming_parts.ASSIGNERS,
    "losses": conforming_parts.LOSSES,
    "normalizer": conforming_parts.NORMALIZERS,
    "pair_weights": conforming_parts.PAIR_WEIGHTS,
}


def target_of(node: Any) -> Any:
    found = node["_target_"]
    return locate(found) if isinstance(found, str) else found


def filled_slots(name: str) -> Iterator[tuple[str, Any]]:
    """Every (slot, class) of a composition."""
    model = get_config(f"common/models/{name}.py").model
    if model.get("masks") is not None:
        yield from (("masks", target_of(model.masks)), ("head", target_of(model.masks.head)))
    for slot in ("neck", "encoder", "selection", "denoising", "decoder", "heads", "criterion", "postprocess"):
        node = model.get(slot)
        while isinstance(node, DictConfig):
            yield slot, target_of(node)
            node = node.get(slot)  # that a wrapper is around
    for rule in model.criterion.rules.values():
        yield "assigner", target_of(rule.assigner)
        yield from (("losses", target_of(term)) for term in rule.losses.values())
        yield from ((key, target_of(rule[key])) for key in ("normalizer", "pair_weights") if rule.get(key) is not None)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_mypy_checks_every_part_of_a_shipped_composition(name: str) -> None:
    missing = [(slot, part) for slot, part in filled_slots(name) if part not in SLOTS[slot]]
    assert not missing, "name them in tests/conforming_parts.py"


@pytest.mark.slow
def test_mypy_refuses_a_part_that_does_not_fulfil_its_protocol(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        "from querydet.modeling.encoder import DeformableEncoder\nfrom querydet.parts import Neck\n"
        "NECKS: tuple[type[Neck], ...] = (DeformableEncoder,)\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "wrong.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "wrong.py:3: error: Incompatible types in assignment" in done.stdout


def read_traits() -> Iterator[tuple[str, str]]:
    """Every (file, name) of ``trait(part, "name")`` in the package."""
    for path in sorted((ROOT / "querydet").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "trait":
                name = node.args[1]
                if isinstance(name, ast.Constant):
                    yield str(path.relative_to(ROOT)), name.value


def test_every_trait_that_is_read_is_declared_and_every_declared_one_is_read() -> None:
    names = {name for _, name in read_traits()}
    assert names <= set(TRAITS)
    generic = {"training_only"}  # of any module, see querydet/checkpoint/training_only.py
    assert set(TRAITS) - names <= generic


def test_traits_stand_in_the_contract_of_a_slot_that_has_them() -> None:
    text = "".join((ROOT / "querydet" / name).read_text() for name in ("parts.py", "mask_parts.py"))
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"Traits: ((?:`\w+`,?\s*)+)", text))))
    assert documented <= set(TRAITS)
    of_content = {"num_rows", "needs_box_content"}
    assert set(TRAITS) - documented - of_content == {"training_only"}
    assert inspect.getdoc(traits)


def test_nothing_outside_a_part_asks_for_the_class_of_a_part() -> None:
    classes = {part.__name__ for parts in SLOTS.values() for part in parts}
    asked = []
    for path in sorted((ROOT / "querydet").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                names = {child.id for child in ast.walk(node.args[1]) if isinstance(child, ast.Name)}
                asked += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in sorted(names & classes)]
    assert not asked


@pytest.mark.parametrize("part", [part for parts in SLOTS.values() for part in parts], ids=lambda part: part.__name__)
def test_no_part_hides_arguments(part: type) -> None:
    parameters = inspect.signature(part).parameters.values()
    hidden = [each.name for each in parameters if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    assert not hidden or inspect.signature(part) == inspect.signature(object)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_compositions_give_no_part_an_argument_that_it_does_not_name(name: str) -> None:
    def check(node: Any) -> None:
        if isinstance(node, DictConfig):
            if "_target_" in node:
                given = {str(key) for key in node} - {"_target_"}
                parameters = inspect.signature(target_of(node)).parameters
                if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
                    assert given <= set(parameters), target_of(node)
            for key in node:
                if not OmegaConf.is_missing(node, key):
                    check(node._get_node(key))

    check(get_config(f"common/models/{name}.py").model)
