"""The deformable attention module: its formulas, its starting state, its dtypes and its errors."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from querydet.modeling.layers import MultiScaleDeformableAttention, deformable_attention
from querydet.ops.reference import ms_deform_attn_fused_reference, ms_deform_attn_reference

FOLDER = Path(os.environ.get("QUERYDET_PARITY_DIR") or Path(__file__).parents[2] / "fixtures" / "parity")
SHAPES = ((6, 9), (3, 5), (2, 2))
PIXELS = 54 + 15 + 4


def make_module(dtype=torch.float64, **changes):
    """A module whose parameters are all random: at the start offsets do not depend on the query."""
    torch.manual_seed(0)
    module = MultiScaleDeformableAttention(
        **{"embed_dim": 24, "num_heads": 4, "num_levels": 3, "num_points": 2, **changes}
    )
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.to(dtype)


def make_inputs(reference_dim, dtype=torch.float64, batch=2, queries=5):
    torch.manual_seed(1)
    query, tokens = torch.randn(batch, queries, 24, dtype=dtype), torch.randn(batch, PIXELS, 24, dtype=dtype)
    return query, torch.rand(batch, queries, 3, reference_dim, dtype=dtype), tokens


def attend_slowly(module, query, reference, tokens, padding=None):
    """The formulas of the paper, one step after the other."""
    heads, levels, points = module.num_heads, module.num_levels, module.num_points
    value = tokens @ module.value_proj.weight.T + module.value_proj.bias
    if padding is not None:
        value[padding] = 0
    logits = query @ module.attention_weights.weight.T + module.attention_weights.bias
    weights = logits.view(*query.shape[:2], heads, levels * points).softmax(-1)
    offsets = query @ module.sampling_offsets.weight.T + module.sampling_offsets.bias
    offsets = offsets.view(*query.shape[:2], heads, levels, points, 2)
    locations = torch.empty_like(offsets)
    for level, (height, width) in enumerate(SHAPES):
        for axis, size in enumerate((width, height)):
            part = offsets[:, :, :, level, :, axis]
            center = reference[:, :, level, axis, None, None]
            if reference.shape[-1] == 2:
                locations[:, :, :, level, :, axis] = center + part / size
            else:
                extent = reference[:, :, level, 2 + axis, None, None]
                locations[:, :, :, level, :, axis] = center + part / points * extent / 2
    value = value.view(*tokens.shape[:2], heads, -1)
    sampled = ms_deform_attn_reference(value, SHAPES, locations, weights.view(*locations.shape[:-1]))
    return sampled @ module.output_proj.weight.T + module.output_proj.bias


@pytest.mark.parametrize("reference_dim", [2, 4])
@pytest.mark.parametrize("with_padding", [False, True])
def test_formulas(reference_dim, with_padding):
    module = make_module()
    query, reference, tokens = make_inputs(reference_dim)
    padding = torch.rand(2, PIXELS) < 0.3 if with_padding else None
    found = module(query, reference, tokens, SHAPES, padding)
    assert found.shape == (2, 5, 24)
    torch.testing.assert_close(found, attend_slowly(module, query, reference, tokens, padding), rtol=1e-10, atol=1e-12)


def test_starting_state():
    module = MultiScaleDeformableAttention(embed_dim=32, num_heads=8, num_levels=2, num_points=3)
    offsets = module.sampling_offsets.bias.view(8, 2, 3, 2)
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(directions):
        for point in range(3):
            wanted = torch.tensor(direction, dtype=torch.float32) * (point + 1)
            assert torch.allclose(offsets[head, :, point], wanted.expand(2, 2), atol=1e-5)
    for parameter in (module.sampling_offsets.weight, module.attention_weights.weight, module.attention_weights.bias):
        assert not parameter.any()
    for projection in (module.value_proj, module.output_proj):
        assert not projection.bias.any()
        assert projection.weight.abs().max() <= math.sqrt(6 / 64)  # xavier: sqrt(6 / (fan_in + fan_out))
        assert projection.weight.std() > 0.1


@pytest.mark.parametrize(("heads", "levels", "points"), [(8, 4, 4), (4, 5, 3)])
def test_recorded_starting_offsets(heads, levels, points):
    with np.load(FOLDER / "msda_op.npz") as archive:
        recorded = archive[f"op/init/h{heads}_l{levels}_p{points}/sampling_offsets_bias"]
    module = MultiScaleDeformableAttention(64, heads, levels, points)
    np.testing.assert_allclose(module.sampling_offsets.bias.detach().numpy(), recorded, rtol=0, atol=1e-5)


def test_parameter_shapes_of_the_papers_model():
    shapes = {name: tuple(parameter.shape) for name, parameter in MultiScaleDeformableAttention().named_parameters()}
    assert shapes == {
        "sampling_offsets.weight": (256, 256),
        "sampling_offsets.bias": (256,),
        "attention_weights.weight": (128, 256),
        "attention_weights.bias": (128,),
        "value_proj.weight": (256, 256),
        "value_proj.bias": (256,),
        "output_proj.weight": (256, 256),
        "output_proj.bias": (256,),
    }


def test_padded_tokens_do_not_matter_but_count():
    module = make_module()
    query, reference, tokens = make_inputs(2)
    padding = torch.zeros(2, PIXELS, dtype=torch.bool)
    padding[1, 20:60] = True
    changed = tokens.clone()
    changed[1, 20:60] = 1e3
    found = module(query, reference, tokens, SHAPES, padding)
    assert torch.equal(found, module(query, reference, changed, SHAPES, padding))
    # All weights on padding: only the output's bias is left. They are not normalised again.
    nothing = module(query, reference, tokens, SHAPES, torch.ones(2, PIXELS, dtype=torch.bool))
    torch.testing.assert_close(nothing, module.output_proj.bias.expand_as(nothing))


def test_batched_equals_single():
    module = make_module()
    query, reference, tokens = make_inputs(4)
    together = module(query, reference, tokens, SHAPES)
    for image in range(2):
        part = slice(image, image + 1)
        alone = module(query[part], reference[part], tokens[part], SHAPES)
        torch.testing.assert_close(alone, together[part], rtol=1e-12, atol=1e-12)


def test_queries_may_be_permuted():
    module = make_module()
    query, reference, tokens = make_inputs(4)
    order = torch.randperm(5)
    found = module(query[:, order], reference[:, order], tokens, SHAPES)
    torch.testing.assert_close(found, module(query, reference, tokens, SHAPES)[:, order], rtol=1e-12, atol=1e-12)


def test_every_input_and_parameter_gets_a_gradient():
    module = make_module()
    inputs = [tensor.requires_grad_() for tensor in make_inputs(4)]
    module(*inputs, SHAPES).square().sum().backward()
    for name, tensor in [*module.named_parameters(), *zip(("query", "reference", "tokens"), inputs, strict=True)]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


@pytest.mark.parametrize("reference_dim", [2, 4])
def test_autocast_keeps_coordinates_in_float32(monkeypatch, reference_dim):
    seen = []

    def record(value, shapes, reference, offsets, logits):
        seen.append((value.dtype, reference.dtype))
        return ms_deform_attn_fused_reference(value, shapes, reference, offsets, logits)

    monkeypatch.setattr(deformable_attention, "fused_deformable_attention", record)
    module = make_module(torch.float32)
    query, reference, tokens = make_inputs(reference_dim, torch.float32)
    exact = module(query, reference, tokens, SHAPES)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(query, reference, tokens, SHAPES)
    assert seen == [(torch.float32, torch.float32), (torch.bfloat16, torch.float32)]
    assert found.dtype == torch.bfloat16
    assert (found - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_dtype_comes_from_the_inputs(dtype):
    module = make_module(dtype)
    query, reference, tokens = make_inputs(2, dtype)
    for boxes in (reference, reference.float()):
        assert module(query, boxes, tokens, SHAPES).dtype == dtype


def test_compiles_and_exports():
    module = make_module()
    query, reference, tokens = make_inputs(2)
    padding = torch.zeros(2, PIXELS, dtype=torch.bool)
    wanted = module(query, reference, tokens, SHAPES, padding)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query, reference, tokens, SHAPES, padding), wanted)
    program = torch.export.export(module, (query, reference, tokens, SHAPES, padding))
    torch.testing.assert_close(program.module()(query, reference, tokens, SHAPES, padding), wanted)


def test_levels_without_pixels():
    module = make_module()
    query, reference, _ = make_inputs(2)
    tokens = torch.randn(2, 54, 24, dtype=torch.float64)
    assert module(query, reference, tokens, ((6, 9), (0, 5), (0, 0))).isfinite().all()


def test_spatial_shapes_as_tensor():
    module = make_module()
    inputs = make_inputs(2)
    assert torch.equal(module(*inputs, torch.tensor(SHAPES)), module(*inputs, SHAPES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": lambda q: q[..., 1:]}, r"query must end in embed_dim 24, but got shape \(2, 5, 23\)"),
        ({"tokens": lambda t: t[0]}, r"tokens must end in embed_dim 24, but got shape \(73, 24\)"),
        ({"tokens": lambda t: t[:, 1:], "padding": lambda _: None}, "value has 72 pixels .* sum to 73"),
        ({"reference": lambda r: r[..., :3]}, r"reference_boxes must be \(2, 5, 3\) .* but got shape \(2, 5, 3, 3\)"),
        ({"reference": lambda r: r[:, 1:]}, r"reference_boxes must be \(2, 5, 3\) .* but got shape \(2, 4, 3, 4\)"),
        ({"shapes": lambda s: s[:2]}, "has 3 levels, but got 2 spatial_shapes"),
        ({"padding": lambda p: p[:, 1:]}, r"padding must be bool of shape \(2, 73\), .* shape \(2, 72\)"),
        ({"padding": lambda p: p.float()}, r"padding must be bool .* torch.float32"),
    ],
)
def test_bad_arguments_name_both_sides(change, message):
    query, reference, tokens = make_inputs(4)
    padding = torch.zeros(2, PIXELS, dtype=torch.bool)
    arguments = {"query": query, "reference": reference, "tokens": tokens, "shapes": SHAPES, "padding": padding}
    for name, function in change.items():
        arguments[name] = function(arguments[name])
    with pytest.raises(ValueError, match=message):
        make_module()(*arguments.values())


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="embed_dim 256 must be a multiple of num_heads 7"):
        MultiScaleDeformableAttention(256, num_heads=7)
