"""Files of OpenVINO say in which precision they are to run, and run in it."""

import sys
from pathlib import Path

import pytest
import torch

from querydet.export.openvino import HINT_PATH, HINTS, OpenVinoModel, export_openvino, require_openvino

# A pixel's three channels become two: by a product that may take 8 bits, and by one of sampling offsets.
SOURCE = """
<ir_version: 10, opset_import: ["" : 20]>
graph (float[n, 3, height, width] images, int64[n, 2] sizes) => (float[b, h, w, 2] plain, float[b, h, w, 2] exact)
<float[3, 2] weight = {0.5, -1.25, 3.0, 0.75, -0.3, 1.1}> {
    pixels = Transpose <perm = [0, 2, 3, 1]> (images)
    floats = Cast <to = 1> (sizes)
    total = ReduceSum <keepdims = 0> (floats)
    plain = MatMul (pixels, weight)
    product = MatMul (pixels, weight)
    exact = Add (product, total)
}
"""
NAMES = ["", "", "", "encoder.layers.0.ffn/a", "encoder.layers.0.attention.sampling_offsets/b", ""]


@pytest.fixture
def graph(tmp_path: Path) -> str:
    """A file of ONNX; skips without the packages."""
    onnx = pytest.importorskip("onnx", reason="an ONNX graph needs onnx")
    pytest.importorskip("openvino", reason="running a file of OpenVINO needs openvino")
    model = onnx.parser.parse_model(SOURCE)
    for node, name in zip(model.graph.node, NAMES, strict=True):
        node.name = name
    onnx.save(model, tmp_path / "model.onnx")
    return str(tmp_path / "model.onnx")


def inputs(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, 4, 5, generator=generator), torch.full((batch, 2), 2)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_file_runs_in_its_precision(graph: str, precision: str, static: bool, tmp_path: Path) -> None:
    import openvino

    path = str(tmp_path / "model.xml")
    export_openvino(graph, path, precision)
    assert openvino.Core().read_model(path).get_rt_info(HINT_PATH).value == HINTS[precision]
    run = OpenVinoModel(path, threads=1, static=static)
    for batch in (1, 2):
        images, sizes = inputs(batch)
        found = run(images, sizes)
        weight = torch.tensor([[0.5, -1.25], [3.0, 0.75], [-0.3, 1.1]])
        difference = (found["plain"] - images.permute(0, 2, 3, 1) @ weight).abs().max()
        assert difference < (1e-5 if precision == "float32" else 0.1)
        assert found["exact"].shape == (batch, 4, 5, 2)


def test_sampling_offsets_stay_in_float32(graph: str, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="8 bits need nncf")
    path = str(tmp_path / "model.xml")
    export_openvino(graph, path, "int8", [inputs()])
    found = OpenVinoModel(path, threads=1)(*inputs())
    images, sizes = inputs()
    weight = torch.tensor([[0.5, -1.25], [3.0, 0.75], [-0.3, 1.1]])
    wanted = images.permute(0, 2, 3, 1) @ weight
    assert (found["exact"] - sizes.sum() - wanted).abs().max() < 1e-5
    assert 1e-5 < (found["plain"] - wanted).abs().max() < 0.2


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \['float32', 'bfloat16', 'int8'\], not 'f16'"):
        export_openvino("model.onnx", str(tmp_path / "model.xml"), "f16")
    with pytest.raises(ValueError, match="int8 takes the ranges of activations from images"):
        export_openvino("model.onnx", str(tmp_path / "model.xml"), "int8")


@pytest.mark.parametrize(("name", "precision"), [("openvino", "float32"), ("nncf", "int8")])
def test_a_missing_package_is_named(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", sys)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"in {precision} needs {name}: pip install 'querydet\[openvino\]'"):
        require_openvino(precision)
