"""The fused operator: from references, offsets and logits to the sum, equal to the steps that it replaces."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from querydet.ops import fused_deformable_attention, multi_scale_deformable_attention
from querydet.ops.fused import OPERATOR
from querydet.ops.reference import (
    locate_samples,
    ms_deform_attn_fused_reference,
    ms_deform_attn_fused_reference_backward,
    normalize_logits,
)
from tests.ops.registered import assert_registered, needs_extension
from tests.ops.sampling import SHAPES, assert_near


def make_inputs(shapes=SHAPES, batch=2, heads=2, channels=8, queries=7, points=3, reference_dim=2, dtype=None, seed=0):
    """Value, references, offsets and logits; offsets reach over borders."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(size, generator=generator, dtype=torch.float64)

    pixels, levels = sum(height * width for height, width in shapes), len(shapes)
    value = draw(batch, pixels, heads, channels) * 2 - 1
    reference = draw(batch, queries, levels, reference_dim)
    offsets = (draw(batch, queries, heads, levels, points, 2) - 0.5) * 5
    logits = (draw(batch, queries, heads, levels, points) - 0.5) * 6
    dtype = dtype or torch.float64
    coordinates = torch.promote_types(dtype, torch.float32)
    return value.to(dtype), reference.to(coordinates), offsets.to(coordinates), logits.to(coordinates)


def run(inputs, shapes, grad_output=None, function=fused_deformable_attention):
    """The output and the four gradients."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = function(inputs[0], shapes, *inputs[1:])
    output.backward(torch.ones_like(output) if grad_output is None else grad_output)
    return output.detach(), *(tensor.grad for tensor in inputs)


def unfused(value, shapes, reference, offsets, logits):
    locations = locate_samples(reference, offsets, shapes)
    return multi_scale_deformable_attention(value, shapes, locations, normalize_logits(logits))


def test_hand_computed():
    # One level of 2x2 pixels 1 2 / 3 4. The reference is the middle; offsets of half a pixel lead to pixel centres.
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    reference = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    offsets = torch.tensor([[-0.5, -0.5], [0.5, 0.5]]).view(1, 1, 1, 1, 2, 2)
    logits = torch.tensor([0.0, 1.0]).log_softmax(0).view(1, 1, 1, 1, 2) + 7.0
    share = torch.tensor(1.0).sigmoid().item()
    output = fused_deformable_attention(value, [(2, 2)], reference, offsets, logits)
    assert output.item() == pytest.approx(1 * (1 - share) + 4 * share, rel=1e-6)
    # A box of the whole image: P = 2 pixels of offset reach its border, 1 half of the way: the pixel centres again.
    box = torch.tensor([0.5, 0.5, 1.0, 1.0]).view(1, 1, 1, 4)
    output = fused_deformable_attention(value, [(2, 2)], box, offsets * 2, logits)
    assert output.item() == pytest.approx(1 * (1 - share) + 4 * share, rel=1e-6)


@pytest.mark.parametrize("reference_dim", [2, 4])
def test_definition_backward_is_its_derivative(reference_dim):
    inputs = [tensor.requires_grad_() for tensor in make_inputs(reference_dim=reference_dim)]
    output = ms_deform_attn_fused_reference(inputs[0], SHAPES, *inputs[1:])
    grad_output = torch.randn_like(output)
    wanted = torch.autograd.grad(output, inputs, grad_output)
    detached = [tensor.detach() for tensor in inputs]
    found = ms_deform_attn_fused_reference_backward(detached[0], SHAPES, *detached[1:], grad_output)
    for one, other in zip(found, wanted, strict=True):
        assert_near(one, other, 1e-12)


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
    batch=st.integers(0, 3),
    heads=st.integers(1, 3),
    channels=st.integers(1, 40),
    queries=st.integers(0, 60),
    points=st.integers(1, 5),
    reference_dim=st.sampled_from([2, 4]),
    seed=st.integers(0, 1000),
)
def test_agrees_with_the_definition_for_any_shape(shapes, batch, heads, channels, queries, points, reference_dim, seed):
    inputs = make_inputs(shapes, batch, heads, channels, queries, points, reference_dim, seed=seed)
    grad_output = torch.randn(batch, queries, heads * channels, dtype=torch.float64)
    output, *grads = run(inputs, shapes, grad_output)
    assert_near(output, ms_deform_attn_fused_reference(inputs[0], shapes, *inputs[1:]), 1e-11)
    wanted = ms_deform_attn_fused_reference_backward(inputs[0], shapes, *inputs[1:], grad_output)
    for found, numbers in zip(grads, wanted, strict=True):
        assert_near(found, numbers, 1e-10)


def away_from_knots(inputs, shapes, margin=0.02):
    """Moves points away from pixel centres, where derivatives are one-sided and rounding decides for one side."""
    value, reference, offsets, logits = inputs
    sizes = torch.tensor([(width, height) for height, width in shapes], dtype=offsets.dtype)[:, None]
    pixels = locate_samples(reference, offsets, shapes) * sizes - 0.5
    part = pixels - pixels.floor()
    shift = part.clamp(margin, 1 - margin) - part
    if reference.shape[-1] == 4:
        shift = shift / (reference[:, :, None, :, None, 2:] * sizes) * 2 * offsets.shape[4]
    return value, reference, offsets + shift, logits


@pytest.mark.parametrize("reference_dim", [2, 4])
@pytest.mark.parametrize(("levels", "points"), [(4, 4), (5, 4), (3, 4), (5, 1)])
@pytest.mark.parametrize("channels", [16, 24, 32, 64])
def test_equals_the_unfused_steps(reference_dim, levels, points, channels):
    shapes = ((12, 17), (6, 9), (3, 5), (2, 3), (1, 2))[:levels]
    inputs = make_inputs(shapes, 1, 2, channels, 60, points, reference_dim, torch.float32)
    if reference_dim == 4:
        inputs = (inputs[0], inputs[1].clamp(min=0.1), *inputs[2:])
    inputs = away_from_knots(inputs, shapes)
    grad_output = torch.randn(1, 60, 2 * channels)
    found, wanted = (run(inputs, shapes, grad_output, function) for function in (fused_deformable_attention, unfused))
    for one, other, bound in zip(found, wanted, (1e-6,) * 5, strict=True):
        assert_near(one, other, bound)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 5e-3), (torch.float16, 1e-3)])
@pytest.mark.parametrize("reference_dim", [2, 4])
@pytest.mark.parametrize("queries", [2, 60])
def test_precision(dtype, tolerance, reference_dim, queries):
    shapes = ((12, 17), (6, 9), (3, 5), (2, 3), (1, 2))
    inputs = make_inputs(shapes, 2, 2, 32, queries, 4, reference_dim, dtype)
    inputs = away_from_knots((inputs[0], inputs[1].clamp(min=0.1), *inputs[2:]), shapes)
    grad_output = torch.randn(2, queries, 64).to(dtype)
    exact = [tensor.double() for tensor in inputs]
    wanted = [ms_deform_attn_fused_reference(exact[0], shapes, *exact[1:])]
    wanted += ms_deform_attn_fused_reference_backward(exact[0], shapes, *exact[1:], grad_output.double())
    found = run(inputs, shapes, grad_output)
    assert [tensor.dtype for tensor in found] == [dtype, dtype, *[torch.float32] * 3]
    for result, numbers, bound in zip(found, wanted, (tolerance, 3 * tolerance, 9e-6, 9e-6, 9e-6), strict=True):
        assert_near(result, numbers, bound)


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4, 88.0, -88.0, 1e30])
def test_softmax_does_not_overflow(shift):
    inputs = make_inputs(dtype=torch.float32)
    logits = inputs[3] * 20
    output, *grads = run((*inputs[:3], logits + shift), SHAPES)
    assert output.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)
    wanted = unfused(inputs[0], SHAPES, inputs[1], inputs[2], logits + shift)
    assert_near(output, wanted, 1e-5)


def test_minus_infinity_masks_a_point_and_nan_spreads_in_its_query_and_head_alone():
    inputs = make_inputs(dtype=torch.float32)
    masked = inputs[3].clone()
    masked[0, 0, 0, 0, 0] = -torch.inf
    output = fused_deformable_attention(inputs[0], SHAPES, *inputs[1:3], masked)
    assert_near(output, unfused(inputs[0], SHAPES, *inputs[1:3], masked), 1e-6)
    broken = inputs[3].clone()
    broken[0, 0, 0, 0, 0] = torch.nan
    output = fused_deformable_attention(inputs[0], SHAPES, *inputs[1:3], broken)
    expected = torch.zeros(2, 7, 16, dtype=torch.bool)
    expected[0, 0, :8] = True
    assert torch.equal(output.isnan(), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("reference_dim", [2, 4])
def test_points_that_are_not_numbers_are_outside(bad, reference_dim):
    inputs = make_inputs(reference_dim=reference_dim, dtype=torch.float32)
    offsets = inputs[2].clone()
    offsets[:, 0] = bad
    output, *grads = run((inputs[0], inputs[1], offsets, inputs[3]), SHAPES)
    assert not output[:, 0].any()
    assert not grads[2][:, 0].any()
    assert grads[0].isfinite().all()


def nowhere(inputs, name, bad):
    """The inputs with everything of the first query ``bad`` in one of them."""
    changed = [tensor.clone() for tensor in inputs]
    changed[("value", "reference", "offsets").index(name)][:, 0] = bad
    return changed


@pytest.mark.parametrize("name", ["reference", "offsets"])
@pytest.mark.parametrize("reference_dim", [2, 4])
def test_what_is_nowhere_has_no_gradient(name, reference_dim):
    inputs = make_inputs(reference_dim=reference_dim, dtype=torch.float32)
    broken = nowhere(inputs, name, torch.nan)
    grads = run(broken, SHAPES)[1:]
    grad_output = torch.ones(2, 7, 16)
    for found in (grads, ms_deform_attn_fused_reference_backward(broken[0], SHAPES, *broken[1:], grad_output)):
        assert all(grad.isfinite().all() for grad in found)
        assert not found[1][:, 0].any()
        assert not found[2][:, 0].any()


@pytest.mark.parametrize("reference_dim", [2, 4])
def test_gradcheck(reference_dim):
    inputs = make_inputs(SHAPES[:2], 1, channels=3, queries=4, points=2, reference_dim=reference_dim)
    inputs = (inputs[0], inputs[1].clamp(min=0.1), *inputs[2:])
    inputs = away_from_knots(inputs, SHAPES[:2], 0.05)
    function = lambda v, r, o, a: fused_deformable_attention(v, SHAPES[:2], r, o, a)  # noqa: E731
    assert torch.autograd.gradcheck(function, [tensor.requires_grad_() for tensor in inputs])


def test_only_wanted_gradients_are_computed():
    inputs = make_inputs(queries=40)
    flat = [size for shape in SHAPES for size in shape]
    arguments = (inputs[0], flat, *inputs[1:], torch.randn(2, 40, 16, dtype=torch.float64), False)
    full = torch.ops.querydet.ms_deform_attn_fused_backward(*arguments, [True] * 4)
    for index in range(4):
        mask = [position == index for position in range(4)]
        grads = torch.ops.querydet.ms_deform_attn_fused_backward(*arguments, mask)
        assert torch.equal(grads[index], full[index])
        assert [grad.numel() > 0 for grad in grads] == mask


@pytest.mark.parametrize("queries", [3, 50])
def test_memory_layout_does_not_matter(queries):
    inputs = make_inputs(queries=queries, dtype=torch.float32)
    wanted = run(inputs, SHAPES, torch.ones(()).expand(2, queries, 16))
    strided = [
        torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1).movedim(1, 0)[..., 0].movedim(0, 1)
        for tensor in inputs
    ]
    assert not any(tensor.is_contiguous() for tensor in strided)
    for one, other in zip(run(strided, SHAPES), wanted, strict=True):
        assert torch.equal(one, other)
    expanded = inputs[1][:, :, :1].expand(-1, -1, 3, -1)  # one reference for all levels
    found = fused_deformable_attention(inputs[0], SHAPES, expanded, *inputs[2:])
    assert torch.equal(found, fused_deformable_attention(inputs[0], SHAPES, expanded.contiguous(), *inputs[2:]))


@pytest.mark.parametrize("queries", [3, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_for_every_thread_count(queries, dtype):
    shapes = ((20, 20), (9, 8))
    inputs = make_inputs(shapes, channels=32, queries=queries, reference_dim=4, dtype=dtype)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(run(inputs, shapes))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    ("batch", "queries", "shapes"),
    [(0, 3, SHAPES), (2, 0, SHAPES), (2, 3, ((0, 4), (3, 0), (0, 0))), (2, 3, ((0, 4), (3, 2), (0, 0)))],
)
def test_empty(batch, queries, shapes):
    inputs = make_inputs(shapes, batch, queries=queries)
    output, *grads = run(inputs, shapes)
    assert output.shape == (batch, queries, 16)
    assert [grad.shape for grad in grads] == [tensor.shape for tensor in inputs]
    assert all(grad.isfinite().all() for grad in grads)


def test_16_bit_companions_are_accepted():
    inputs = [tensor.bfloat16() for tensor in make_inputs()]
    output, *grads = run(inputs, SHAPES)
    exact = ms_deform_attn_fused_reference(inputs[0].double(), SHAPES, *(tensor.double() for tensor in inputs[1:]))
    assert_near(output, exact, 5e-3)
    assert [grad.dtype for grad in grads] == [torch.bfloat16] * 4


def test_opcheck():
    inputs = make_inputs(SHAPES[:2], channels=3, queries=4, points=2)
    inputs = away_from_knots((inputs[0], inputs[1].clamp(min=0.1), *inputs[2:]), SHAPES[:2])
    flat = [size for shape in SHAPES[:2] for size in shape]
    wanted = {"test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"}
    arguments = (inputs[0].requires_grad_(), flat, *(tensor.requires_grad_() for tensor in inputs[1:]))
    results = torch.library.opcheck(torch.ops.querydet.ms_deform_attn_fused, arguments)
    assert results == dict.fromkeys(wanted, "SUCCESS")
    plain = [tensor.detach() if isinstance(tensor, Tensor) else tensor for tensor in arguments]
    arguments = (*plain, torch.randn(2, 4, 6, dtype=torch.float64), True, [True, False, True, True])
    results = torch.library.opcheck(torch.ops.querydet.ms_deform_attn_fused_backward, arguments)
    assert results == dict.fromkeys(wanted, "SUCCESS")


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph(backend):
    def function(value, reference, offsets, logits):
        return fused_deformable_attention(value * 2, SHAPES, reference, offsets, logits).sin()

    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=backend)
    for queries in (7, 11):
        inputs = [tensor.requires_grad_() for tensor in make_inputs(queries=queries)]
        wanted, found = function(*inputs), compiled(*inputs)
        assert_near(found, wanted, 1e-9)
        grads = (torch.autograd.grad(output.sum(), inputs) for output in (found, wanted))
        for one, other in zip(*grads, strict=True):
            assert_near(one, other, 1e-9)


def test_exports_with_dynamic_batch_and_queries():
    class Sampler(torch.nn.Module):
        def forward(self, value, reference, offsets, logits):
            return fused_deformable_attention(value, SHAPES, reference, offsets, logits)

    batch, queries = torch.export.Dim("batch"), torch.export.Dim("queries")
    dynamic = ({0: batch}, *[{0: batch, 1: queries}] * 3)
    program = torch.export.export(Sampler(), make_inputs(), dynamic_shapes=dynamic)
    assert any("querydet.ms_deform_attn_fused" in str(node.target) for node in program.graph.nodes)
    inputs = make_inputs(batch=3, queries=5)
    assert torch.equal(program.module()(*inputs), fused_deformable_attention(inputs[0], SHAPES, *inputs[1:]))


def test_second_derivative_is_refused():
    inputs = [tensor.requires_grad_() for tensor in make_inputs()]
    output = fused_deformable_attention(inputs[0], SHAPES, *inputs[1:])
    (first,) = torch.autograd.grad(output.sum(), inputs[2], create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives of querydet::ms_deform_attn_fused are not implemented"):
        first.sum().backward()


BAD_ARGUMENTS = {
    "value must be .* got shape .2, 39, 16.": {"value": lambda v: v.flatten(2)},
    "38 pixels .* sum to 39": {"value": lambda v: v[:, 1:]},
    r"sampling_offsets must be \(B, Q, M, L, P, 2\), but got": {"offsets": lambda x: x[..., :1]},
    r"sampling_offsets .*\(B, M, L\) = \(1, 2, 3\), .* need \(2, 2, 3\)": {"offsets": lambda x: x[:1]},
    r"attention_logits must have the shape \(2, 7, 2, 3, 3\) .* \(2, 7, 2, 3, 2\)": {"logits": lambda w: w[..., :2]},
    r"reference_points must be \(2, 7, 3\) \+ .* got shape \(2, 7, 3, 3\)": {"reference": lambda r: r[..., :3]},
    r"reference_points must be \(2, 7, 3\) \+ .* got shape \(2, 6, 3, 4\)": {"reference": lambda r: r[:, 1:]},
    "reference_points must be one of .*float64.*float32": {"reference": lambda r: r.float()},
    "sampling_offsets must be one of .*float64.*float16": {"offsets": lambda x: x.half()},
    "attention_logits is on meta, but value is on cpu": {"logits": lambda w: w.to("meta")},
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_arguments_name_both_sides(message):
    value, reference, offsets, logits = make_inputs(reference_dim=4)
    arguments = {"value": value, "shapes": SHAPES, "reference": reference, "offsets": offsets, "logits": logits}
    for name, change in BAD_ARGUMENTS[message].items():
        arguments[name] = change(arguments[name])
    with pytest.raises(ValueError, match=message):
        fused_deformable_attention(*arguments.values())
    if "meta" not in message:
        flat = [size for shape in SHAPES for size in shape]
        with pytest.raises((RuntimeError, ValueError), match=r"must|sum to|need|fit"):
            torch.ops.querydet.ms_deform_attn_fused(
                arguments["value"], flat, *(arguments[name] for name in ("reference", "offsets", "logits"))
            )


@needs_extension
def test_extension_has_the_same_schemas_and_kernels_for_the_cpu():
    for schema in (OPERATOR.schema, OPERATOR.backward_schema):
        assert_registered(schema)
