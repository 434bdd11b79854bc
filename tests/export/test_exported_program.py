"""Programs of torch.export compute what the detector computes, at sizes that they were not traced at."""

from pathlib import Path

import pytest
import torch

from querydet.export.checking import measure
from querydet.export.exported_program import export_program, min_side
from querydet.export.running import run_program
from tests.export.detectors import TOLERANCE, assert_same, noise, small_detector


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dino", "deta"])
def test_a_saved_program_agrees(name: str, tmp_path: Path) -> None:
    detector = small_detector(name)
    program = export_program(detector)
    assert not [node for node in program.graph.nodes if "querydet" in str(node.target)]
    torch.export.save(program, tmp_path / "model.pt2")
    assert_same(detector, run_program(str(tmp_path / "model.pt2")), min_side(detector))


@pytest.mark.slow
def test_a_program_of_one_size_keeps_its_operators(tmp_path: Path) -> None:
    detector = small_detector("dino")
    operator = torch.ops.querydet.ms_deform_attn_fused
    program = export_program(detector, (operator,), (192, 256))
    assert [node for node in program.graph.nodes if node.target is operator.default]
    found = measure(detector, program.module(), noise([(150, 256), (192, 201)]), TOLERANCE, (192, 256))
    assert found.within(TOLERANCE), found


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("dino", {}, 65),  # maps of stride 8, 16 and 32, and one more level
        ("dino", {"neck__num_levels": 3}, 33),
        ("dino", {"neck__num_levels": 2, "neck__in_channels": {"res4": 8, "res5": 16}}, 33),
        ("detr", {}, 33),
    ],
)
def test_every_level_has_two_rows_from_the_least_side_on(name: str, overrides: dict, expected: int) -> None:
    assert min_side(small_detector(name, **overrides)) == expected


def test_a_fixed_size_that_is_too_small_is_refused_before_the_trace() -> None:
    detector = small_detector("dino").train()
    with pytest.raises(ValueError, match=r"the fixed size \(200, 64\) is below 65, the least height and width"):
        export_program(detector, fixed_size=(200, 64))
    assert detector.training
