"""A simplified graph computes the same with less."""

import numpy as np
import pytest

from querydet.export.onnx_simplifying import simplify

onnx = pytest.importorskip("onnx", reason="an ONNX graph needs onnx")
pytest.importorskip("onnxscript", reason="an ONNX graph needs onnxscript")
onnxruntime = pytest.importorskip("onnxruntime", reason="running an ONNX graph needs onnxruntime")

SOURCE = """
<ir_version: 10, opset_import: ["" : 20]>
graph (float[1, 1, 3, 4] x) => (float[b, c, h, w] y)
<float[1, 1, 1, 1] weight = {2.0}, float[1] scale = {3.0}, float[1] shift = {1.0}, float[1] mean = {0.5},
 float[1] variance = {4.0}, int64[2] sides = {3, 4}, int64[1] batch = {1}, float one = {1.0}, int64[1] zero = {0}> {
    shape = Concat <axis = 0> (batch, batch, sides)
    same = Reshape (x, shape)
    flat = Transpose <perm = [0, 1, 3, 2]> (same)
    back = Transpose <perm = [0, 1, 3, 2]> (flat)
    maps = Conv (back, weight)
    normalised = BatchNormalization (maps, scale, shift, mean, variance)
    y = Mul (normalised, one)
}
"""


def run(model: "onnx.ModelProto", x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_norms_are_folded_and_what_does_nothing_is_gone() -> None:
    import onnx_ir

    before = onnx.parser.parse_model(SOURCE)
    model = onnx_ir.serde.deserialize_model(before)
    simplify(model)
    after = onnx_ir.serde.serialize_model(model)
    operators = [node.op_type for node in after.graph.node]
    assert operators.count("Conv") == 1
    assert {"BatchNormalization", "Transpose", "Mul", "Concat"}.isdisjoint(operators)
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-6)
