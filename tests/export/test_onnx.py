"""Exported files compute what the detector computes, at sizes that they were not traced at."""

from pathlib import Path

import pytest

from querydet.export.exported_program import min_side
from querydet.export.onnx import OnnxModel, export_onnx
from querydet.modeling.detector import QueryDetector
from querydet.modeling.encoder.deformable import DeformableEncoder
from tests.export.detectors import assert_same, small_detector

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
    "dn_deformable_encoder",
    "mask_deformable_detr",
    "dino_masks",
    "group_mask2former",
)

onnx = pytest.importorskip("onnx", reason="an ONNX graph needs onnx")
pytest.importorskip("onnxscript", reason="an ONNX graph needs onnxscript")
pytest.importorskip("onnxruntime", reason="running an ONNX graph needs onnxruntime")


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
