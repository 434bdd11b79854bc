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
    with pytest.raises(ValueError, match=r"the fixed size \(64, 200\) is below 65"):
        export_program(detector, fixed_size=(64, 200))
    operator = torch.ops.querydet.ms_deform_attn_fused
    program = export_program(detector, (operator,), (192, 256))
    assert [node for node in program.graph.nodes if node.target is operator.default]
    found = measure(detector, program.module(), noise([(150, 256), (192, 201)]), TOLERANCE, (192, 256))
    assert found.within(TOLERANCE), found
