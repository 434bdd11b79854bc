"""The numbers of the deformable attention operator: against nested loops, its definition and recorded runs.

All of it holds with and without the extension. Registration and errors are in test_ms_deform_attn_operator.py.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.ops import multi_scale_deformable_attention
from querydet.ops.reference import ms_deform_attn_reference, ms_deform_attn_reference_backward
from tests.ops.sampling import SHAPES, assert_near, between_pixels, make_inputs, run
from tests.reference.ms_deform_attn_loops import ms_deform_attn_loops

FOLDER = Path(os.environ.get("QUERYDET_PARITY_DIR") or Path(__file__).parents[1] / "fixtures" / "parity")


def test_hand_computed():
    # One level of 2x2 pixels 1 2 / 3 4; a point in the middle, one on the upper left pixel's centre.
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    locations = torch.tensor([[0.5, 0.5], [0.25, 0.25]]).view(1, 1, 1, 1, 2, 2)
    weights = torch.tensor([1.0, 10.0]).view(1, 1, 1, 1, 2)
    output = multi_scale_deformable_attention(value, [(2, 2)], locations, weights)
    assert output.tolist() == [[[2.5 + 10.0]]]


@pytest.mark.parametrize("channels", [1, 5, 16, 24, 32, 67])
@pytest.mark.parametrize("queries", [1, 40])  # few queries read values where they are, many from packed planes
def test_agrees_with_loops(channels, queries):
    value, locations, weights = make_inputs(batch=1, channels=channels, queries=queries, points=2)
    locations = between_pixels(SHAPES, locations)
    grad_output = torch.randn(1, queries, 2 * channels, dtype=torch.float64)
    arrays = [tensor.numpy() for tensor in (value, locations, weights)]
    wanted = [ms_deform_attn_loops(arrays[0], SHAPES, *arrays[1:])]
    wanted += ms_deform_attn_loops(arrays[0], SHAPES, *arrays[1:], grad_output=grad_output.numpy())
    for found, numbers in zip(run(value, SHAPES, locations, weights, grad_output), wanted, strict=True):
        assert_near(found, torch.from_numpy(numbers), 1e-12)


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
    batch=st.integers(0, 3),
    heads=st.integers(1, 3),
    channels=st.integers(1, 40),
    queries=st.integers(0, 60),
    points=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_agrees_with_definition_for_any_shape(shapes, batch, heads, channels, queries, points, seed):
    value, locations, weights = make_inputs(shapes, batch, heads, channels, queries, points, seed=seed)
    grad_output = torch.randn(batch, queries, heads * channels, dtype=torch.float64)
    output, *grads = run(value, shapes, locations, weights, grad_output)
    assert_near(output, ms_deform_attn_reference(value, shapes, locations, weights), 1e-12)
    wanted = ms_deform_attn_reference_backward(value, shapes, locations, weights, grad_output)
    for found, numbers in zip(grads, wanted, strict=True):
        assert_near(found, numbers, 1e-11)


# Rounding of the output's type decides for 16 bit: 2^-9 for bfloat16, 2^-12 for float16, relative to each entry.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 5e-3), (torch.float16, 1e-3)])
@pytest.mark.parametrize("points", [1, 3, 4])
@pytest.mark.parametrize("queries", [2, 60])
def test_precision(dtype, tolerance, points, queries):
    shapes = ((12, 17), (6, 9), (3, 5), (2, 3), (1, 2))  # L * P of 5, 15 and 20
    value, locations, weights = make_inputs(shapes, channels=32, queries=queries, points=points, dtype=dtype)
    locations = between_pixels(shapes, locations)
    grad_output = torch.randn(2, queries, 64).to(dtype)
    exact = [tensor.double() for tensor in (value, locations, weights)]
    wanted = [ms_deform_attn_reference(exact[0], shapes, *exact[1:])]
    wanted += ms_deform_attn_reference_backward(exact[0], shapes, *exact[1:], grad_output.double())
    found = run(value, shapes, locations, weights, grad_output)
    assert [tensor.dtype for tensor in found] == [dtype, dtype, torch.float32, torch.float32]
    # Locations and weights are float32, and so are their gradients. Near a pixel's centre a float32 location is
    # the less exact the more it is magnified, hence 3 times for gradients.
    for result, numbers, bound in zip(found, wanted, (tolerance, 3 * tolerance, 6e-6, 6e-6), strict=True):
        assert_near(result, numbers, bound)


def test_16_bit_locations_are_accepted():
    value, locations, weights = make_inputs(dtype=torch.bfloat16)
    output, *grads = run(value, SHAPES, locations.bfloat16(), weights.bfloat16())
    exact = ms_deform_attn_reference(
        *(value.double(), SHAPES), locations.bfloat16().double(), weights.bfloat16().double()
    )
    assert_near(output, exact, 5e-3)
    assert [grad.dtype for grad in grads] == [torch.bfloat16] * 3


@pytest.mark.parametrize("queries", [3, 30])
def test_gradcheck(queries):
    value, locations, weights = make_inputs(SHAPES[:2], batch=1, channels=3, queries=queries, points=2)
    inputs = (value, between_pixels(SHAPES[:2], locations), weights)
    torch.autograd.gradcheck(
        lambda v, x, w: multi_scale_deformable_attention(v, SHAPES[:2], x, w),
        tuple(tensor.requires_grad_() for tensor in inputs),
        fast_mode=True,
    )


def test_only_wanted_gradients_are_computed():
    value, locations, weights = make_inputs()
    flat = [size for shape in SHAPES for size in shape]
    grad_output = torch.randn(2, 7, 16, dtype=torch.float64)
    arguments = (value, flat, locations, weights, grad_output, False)
    full = torch.ops.querydet.ms_deform_attn_backward(*arguments, [True, True, True])
    for index in range(3):
        mask = [position == index for position in range(3)]
        grads = torch.ops.querydet.ms_deform_attn_backward(*arguments, mask)
        assert torch.equal(grads[index], full[index])
        assert [grad.numel() > 0 for grad in grads] == mask


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3.4e38, 1.51, -0.51])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("queries", [1, 50])
def test_outside_contributes_nothing(bad, axis, dtype, queries):
    # 1.51 and -0.51 are outside of a level of one pixel, and of all larger ones.
    value, locations, weights = make_inputs(queries=queries, dtype=dtype, span=(0.1, 0.9))
    locations[:, 0, :, :, 0, axis] = bad
    output, grad_value, grad_locations, grad_weights = run(value, SHAPES, locations, weights)
    silent = weights.clone()
    silent[:, 0, :, :, 0] = 0
    locations[:, 0, :, :, 0, axis] = 0.3
    wanted, wanted_value, *_ = run(value, SHAPES, locations, silent)
    assert_near(output, wanted, 1e-6)
    assert_near(grad_value, wanted_value, 1e-6)
    assert not grad_locations[:, 0, :, :, 0].any()
    assert not grad_weights[:, 0, :, :, 0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_around_the_border_agree_with_the_definition(dtype):
    # Every pixel centre, every border, and the numbers next to them, where rounding decides what is inside.
    shapes = ((3, 7), (1, 5))
    steps = torch.arange(-3, 18, dtype=dtype)
    for size in (3, 7, 1, 5):
        exact = steps / (2 * size)
        near = torch.stack([exact, exact.nextafter(exact + 1), exact.nextafter(exact - 1)]).flatten()
        grid = torch.cartesian_prod(near, near)
        value = torch.rand(1, 26, 1, 4, dtype=dtype)
        locations = grid.view(1, -1, 1, 1, 1, 2).expand(-1, -1, -1, 2, -1, -1)
        weights = torch.rand(1, len(grid), 1, 2, 1, dtype=dtype)
        output = multi_scale_deformable_attention(value, shapes, locations, weights)
        exact_output = ms_deform_attn_reference(value.double(), shapes, locations.double(), weights.double())
        assert_near(output, exact_output, 1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("queries", [1, 50])
def test_values_that_are_not_sampled_do_not_leak(queries):
    value, locations, weights = make_inputs(((4, 4), (2, 2)), queries=queries, dtype=torch.float32, span=(0.4, 0.6))
    value.view(2, 20, 2, 8)[:, [0, 3, 12, 15]] = float("nan")  # corners of the first level
    locations[:, :, :, :, 0] = -5.0
    assert multi_scale_deformable_attention(value, ((4, 4), (2, 2)), locations, weights).isfinite().all()


@pytest.mark.parametrize(
    ("batch", "queries", "shapes"),
    [
        (0, 3, SHAPES),
        (2, 0, SHAPES),
        (0, 0, SHAPES),
        (2, 3, ((0, 4), (3, 0), (0, 0))),
        (2, 3, ((0, 4), (3, 2), (0, 0))),
    ],
)
def test_empty(batch, queries, shapes):
    value, locations, weights = make_inputs(shapes, batch=batch, queries=queries)
    output, *grads = run(value, shapes, locations, weights)
    assert output.shape == (batch, queries, 16)
    assert [grad.shape for grad in grads] == [value.shape, locations.shape, weights.shape]
    used = shapes == SHAPES or (3, 2) in shapes
    assert bool(output.any()) == (used and output.numel() > 0)


@pytest.mark.parametrize("queries", [1, 50])
def test_memory_layout_does_not_matter(queries):
    value, locations, weights = make_inputs(queries=queries)
    wanted = run(value, SHAPES, locations, weights)
    strided = value.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
    shifted = torch.cat([torch.zeros(1), weights.float().flatten()])[1:].view_as(weights).double()
    every_second = torch.stack([locations, locations], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert not every_second.is_contiguous()
    for found, numbers in zip(run(strided, SHAPES, every_second, weights), wanted, strict=True):
        assert torch.equal(found, numbers)
    assert_near(run(value, SHAPES, locations, shifted)[0], wanted[0], 1e-6)


def test_expanded_inputs():
    value, locations, weights = make_inputs(batch=1)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    expanded = [tensor.expand(3, *tensor.shape[1:]) for tensor in inputs]
    output = multi_scale_deformable_attention(expanded[0], SHAPES, expanded[1], expanded[2])
    output.sum().backward()  # its gradient is an expanded tensor too
    single, *grads = run(value, SHAPES, locations, weights)
    assert torch.equal(output[2:], single)
    for tensor, grad in zip(inputs, grads, strict=True):
        assert_near(tensor.grad, 3 * grad, 1e-12)


def test_images_are_independent():
    value, locations, weights = make_inputs()
    together = run(value, SHAPES, locations, weights)
    for image in range(2):
        alone = run(value[image : image + 1], SHAPES, locations[image : image + 1], weights[image : image + 1])
        for one, other in zip(alone, together, strict=True):
            assert_near(one, other[image : image + 1], 1e-12)


def test_few_queries_equal_many():
    value, locations, weights = make_inputs(queries=60, dtype=torch.float32, channels=19)
    many = multi_scale_deformable_attention(value, SHAPES, locations, weights)
    few = multi_scale_deformable_attention(value, SHAPES, locations[:, :1], weights[:, :1])
    assert_near(few, many[:, :1], 1e-6)


@pytest.mark.parametrize("queries", [2, 80])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_for_every_thread_count(queries, dtype):
    value, locations, weights = make_inputs(((20, 20), (9, 8)), channels=32, queries=queries, dtype=dtype)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(run(value, ((20, 20), (9, 8)), locations, weights))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_spatial_shapes_as_tensor():
    value, locations, weights = make_inputs()
    wanted = multi_scale_deformable_attention(value, SHAPES, locations, weights)
    for shapes in (torch.tensor(SHAPES), [list(shape) for shape in SHAPES]):
        assert torch.equal(multi_scale_deformable_attention(value, shapes, locations, weights), wanted)


def recorded_cases():
    return sorted(json.loads((FOLDER / "msda_op.json").read_text())["cases"]) if FOLDER.is_dir() else []


@pytest.mark.parametrize("case", recorded_cases())
def test_recorded_numbers(case):
    description = json.loads((FOLDER / "msda_op.json").read_text())["cases"][case]
    with np.load(FOLDER / "msda_op.npz") as archive:
        prefix = f"op/{case}/"
        recorded = {
            key[len(prefix) :]: torch.from_numpy(archive[key]) for key in archive.files if key.startswith(prefix)
        }
    inputs = [recorded[name] for name in ("value", "sampling_locations", "attention_weights")]
    results = run(inputs[0], recorded["spatial_shapes"], *inputs[1:], grad_output=recorded["grad_output"])
    names = ["output", "grad_value", "grad_sampling_locations", "grad_attention_weights"]
    for name, found in zip(names, results, strict=True):
        if description["mode"] == "exact" and name == "grad_sampling_locations":
            continue  # at pixel centres the derivative is one-sided
        assert_near(found, recorded[name], 1e-12)
