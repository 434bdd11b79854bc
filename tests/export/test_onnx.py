"""Exported files compute what the detector computes, at sizes that they were not traced at."""

from pathlib import Path

import pytest
import torch

from querydet.export.checking import measure
from querydet.export.exported_program import export_program, min_side
from querydet.export.onnx import OnnxModel, export_onnx
from querydet.export.running import run_program
from querydet.modeling.detector import QueryDetector
from querydet.modeling.encoder.deformable import DeformableEncoder
from tests.export.detectors import noise, small_detector

METHODS = (
    "deta",
    "deformable_detr",
    "deformable_detr_one_stage",
    "group_dino",
    "ms_detr",
    "h_detr",
    "dn_detr",
    "dino",
    "group_conditional_detr",
    "detr",
    "group_dab_detr",
)
BATCHES = ([(131, 140)], [(260, 150), (135, 301), (200, 200)], [(400, 260)])
TOLERANCE = 1e-3

onnx = pytest.importorskip("onnx", reason="an ONNX graph needs onnx")
pytest.importorskip("onnxscript", reason="an ONNX graph needs onnxscript")
pytest.importorskip("onnxruntime", reason="running an ONNX graph needs onnxruntime")


def assert_same(detector: QueryDetector, run: object, least: int) -> None:
    for sizes in BATCHES:
        found = measure(detector, run, noise(sizes, seed=len(sizes)), TOLERANCE, (least, least))  # type: ignore[arg-type]
        assert found.within(TOLERANCE), found


def check_onnx(detector: QueryDetector, path: Path) -> None:
    export_onnx(detector, str(path))
    graph = onnx.load(str(path)).graph
    assert {node.domain for node in graph.node} == {""}, "an operator that is not ONNX's own"
    deformable = isinstance(detector.encoder, DeformableEncoder)
    assert ("GridSample" in {node.op_type for node in graph.node}) == deformable
    assert_same(detector, OnnxModel(str(path), threads=1), min_side(detector))


@pytest.mark.slow
def test_onnx_runtime_agrees_with_the_smallest_dino(tmp_path: Path) -> None:
    channels = {"res4": 8, "res5": 16}
    detector = small_detector("dino", neck__num_levels=2, neck__in_channels=channels, decoder__num_layers=1)
    check_onnx(detector, tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_onnx_runtime_agrees_with(name: str, tmp_path: Path) -> None:
    check_onnx(small_detector(name), tmp_path / "model.onnx")


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
