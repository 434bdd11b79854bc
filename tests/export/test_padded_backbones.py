"""Exported detectors on backbones that take some sizes only: what is to be padded, the graph pads."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyCall as L

from querydet.export.checking import measure
from querydet.export.exported_program import export_program, min_side
from querydet.export.graph import DetectionGraph, pad_images
from querydet.export.onnx import OnnxModel, export_onnx
from querydet.export.running import ExportedDetector
from querydet.modeling.backbones import TimmBackbone
from querydet.modeling.detector import QueryDetector
from tests.export.detectors import assert_same_detections, noise
from tests.modeling.backbones.small import detector_on, small_detector

SIZES = [(97, 131), (101, 75)]
TOLERANCE = 1e-4


def small_timm(name: str) -> QueryDetector:
    """A detector on a small network of timm."""
    swin = {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 3}
    pixels = {"pixel_mean": [123.675, 116.28, 103.53], "pixel_std": [58.395, 57.12, 57.375]}
    return detector_on(L(TimmBackbone)(name=name, options=swin if name.startswith("swin") else {}, **pixels))


@pytest.fixture
def onnx_file(tmp_path: Path) -> str:
    """Where to write a graph; skips without the packages."""
    pytest.importorskip("onnxscript", reason="an ONNX graph needs onnxscript")
    pytest.importorskip("onnxruntime", reason="running an ONNX graph needs onnxruntime")
    return str(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["resnet_fpn", "vit", "mvit"])
@torch.no_grad()
def test_the_graph_detects_what_the_detector_does(name: str) -> None:
    detector = small_detector(name).eval()
    inputs = [{"image": image} for image in noise(SIZES)]
    exported = ExportedDetector(DetectionGraph(detector), (1, 1))
    assert_same_detections(exported(inputs), detector(inputs))


@torch.no_grad()
def test_the_graph_pads_to_the_square_of_the_backbone() -> None:
    free, square = (small_detector("resnet_fpn", square_pad=side).eval() for side in (0, 160))
    images, sizes = pad_images(noise(SIZES))
    wanted, found = DetectionGraph(free)(*pad_images(noise(SIZES), (160, 160))), DetectionGraph(square)(images, sizes)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(("name", "kind"), [("vit", "ViT"), ("mvit", "MViT")])
def test_transformers_that_are_laid_out_for_one_size_need_one(name: str, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"Detectron2's {kind} decides by the size .* give fixed_size"):
        export_program(small_detector(name))


def test_networks_of_timm_that_attend_need_a_fixed_size() -> None:
    pytest.importorskip("timm", reason="the adapter to timm needs timm")
    convolutions, attention = (small_timm(name) for name in ("test_convnext", "swin_tiny_patch4_window7_224"))
    with pytest.raises(ValueError, match=r"TimmBackbone swin_tiny_patch4_window7_224 decides .* give fixed_size"):
        export_program(attention)
    assert not convolutions.backbone.attends()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("test_convnext", None), ("swin_tiny_patch4_window7_224", SIZES[0])])
def test_networks_of_timm_are_exported(name: str, size: tuple[int, int] | None) -> None:
    pytest.importorskip("timm", reason="the adapter to timm needs timm")
    detector = small_timm(name)
    run = export_program(detector, fixed_size=size).module()
    for sizes in ([(97, 131), (90, 70)], [(80, 131)]):
        found = measure(detector, run, noise(sizes), TOLERANCE, size or (min_side(detector),) * 2)
        assert found.within(TOLERANCE), found


def test_a_fixed_size_beyond_the_square_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit into the square of 160"):
        export_program(small_detector("resnet_fpn", square_pad=160), fixed_size=(161, 128))


@pytest.mark.slow
def test_a_feature_pyramid_is_exported_for_all_sizes(onnx_file: str) -> None:
    detector = small_detector("resnet_fpn")
    least = (min_side(detector),) * 2
    export_onnx(detector, onnx_file)
    run = OnnxModel(onnx_file, threads=1)
    for sizes in (SIZES, SIZES[:1], [(300, 401)]):
        found = measure(detector, run, noise(sizes), TOLERANCE, least)
        assert found.within(TOLERANCE), found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "mvit"])
def test_a_transformer_is_exported_for_one_size(name: str, onnx_file: str) -> None:
    detector = small_detector(name)
    export_onnx(detector, onnx_file, fixed_size=SIZES[0])
    run = OnnxModel(onnx_file, threads=1)
    for sizes in ([(97, 131), (90, 70)], [(80, 131)]):
        found = measure(detector, run, noise(sizes), TOLERANCE, SIZES[0])
        assert found.within(TOLERANCE), found
