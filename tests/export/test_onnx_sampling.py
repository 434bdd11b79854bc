"""Deformable attention in ONNX computes what the operator does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from querydet.export.onnx_sampling import translate_sampling

pytest.importorskip("onnxscript", reason="an ONNX graph needs onnxscript")
onnxruntime = pytest.importorskip("onnxruntime", reason="running an ONNX graph needs onnxruntime")

OPERATOR = torch.ops.querydet.ms_deform_attn_fused
NAMES = ("value", "reference", "offsets", "logits")


class Sampling(nn.Module):
    """Calls the operator on levels of given heights and widths."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        return OPERATOR(value, list(self.sizes), reference, offsets, logits)


def make_inputs(sizes: tuple[int, ...], coordinates: int, batch: int) -> tuple[Tensor, ...]:
    """Values of 2 heads with 3 channels, and 5 queries with 2 points, some of them far outside."""
    generator = torch.Generator().manual_seed(batch)
    levels, tokens = len(sizes) // 2, sum(h * w for h, w in zip(sizes[::2], sizes[1::2], strict=True))
    value = torch.randn(batch, tokens, 2, 3, generator=generator)
    reference = torch.rand(batch, 5, levels, coordinates, generator=generator)
    offsets = 2 * torch.randn(batch, 5, 2, levels, 2, 2, generator=generator)
    offsets[:, 0, 0, 0, 0] = 1e9
    offsets[:, 1, 0, 0, 0] = torch.inf
    offsets[:, 2, 0, 0, 0] = -1e30
    return value, reference, offsets, torch.randn(batch, 5, 2, levels, 2, generator=generator)


@pytest.mark.parametrize(("sizes", "coordinates"), [((4, 5, 2, 3), 2), ((4, 5, 1, 1), 4)])
def test_a_graph_of_any_batch_agrees(sizes: tuple[int, ...], coordinates: int, tmp_path: Path) -> None:
    module, batch = Sampling(sizes), torch.export.Dim("batch")
    program = torch.export.export(
        module, make_inputs(sizes, coordinates, 2), dynamic_shapes=[{0: batch}] * 4, strict=False
    )
    table = {OPERATOR.default: translate_sampling}
    exported = torch.onnx.export(
        program, dynamo=True, input_names=list(NAMES), opset_version=20, custom_translation_table=table,
        optimize=False, verbose=False,
    )  # fmt: skip
    assert exported is not None
    exported.save(str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        inputs = make_inputs(sizes, coordinates, count)
        given = {name: tensor.numpy() for name, tensor in zip(NAMES, inputs, strict=True)}
        np.testing.assert_allclose(session.run(None, given)[0], module(*inputs).numpy(), atol=1e-5)
