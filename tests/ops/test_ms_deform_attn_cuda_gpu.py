"""Deformable attention on a GPU: both operators agree with the CPU, and keep what the CUDA side promises."""

import pytest
import torch

from querydet.ops import fused_deformable_attention, multi_scale_deformable_attention
from querydet.ops.reference import ms_deform_attn_fused_reference
from tests.ops.sampling import SHAPES, assert_near, between_pixels, make_inputs, run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

TOLERANCES = {torch.float64: 1e-12, torch.float32: 6e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}
LARGE = ((40, 67), (20, 34), (10, 17), (5, 9))  # as many samples as the sort is chosen for, with queries at all pixels


@pytest.fixture
def deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def run_fused(value, shapes, references, offsets, logits, grad_output, function=fused_deformable_attention):
    inputs = [tensor.detach().clone().requires_grad_() for tensor in (value, references, offsets, logits)]
    output = function(inputs[0], shapes, *inputs[1:])
    output.backward(grad_output)
    return output.detach(), *(tensor.grad for tensor in inputs)


def make_fused(value, locations, size, seed=0):
    """References, offsets and logits."""
    generator = torch.Generator().manual_seed(seed)
    batch, queries, _, levels = locations.shape[:4]
    references = torch.rand(batch, queries, levels, size, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    offsets = torch.randn(locations.shape, generator=generator, dtype=torch.float64)
    logits = torch.randn(locations.shape[:-1], generator=generator, dtype=torch.float64)
    return [tensor.to(locations.dtype) for tensor in (references, offsets, logits)]


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("channels", [5, 16, 24, 32, 64, 136])
@pytest.mark.parametrize("points", [1, 5, 20])
def test_gpu_agrees_with_cpu(dtype, channels, points):
    value, locations, weights = make_inputs(channels=channels, queries=33, points=points, dtype=dtype)
    locations = between_pixels(SHAPES, locations)
    grad_output = torch.randn(2, 33, 2 * channels).to(dtype)
    wanted = run(value, SHAPES, locations, weights, grad_output)
    found = run(value.cuda(), SHAPES, locations.cuda(), weights.cuda(), grad_output.cuda())
    for result, numbers in zip(found, wanted, strict=True):
        assert_near(result.cpu(), numbers, TOLERANCES[dtype])


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("channels", [5, 16, 32, 64])
def test_gpu_deterministic(dtype, channels):
    value, locations, weights = make_inputs(channels=channels, queries=601, points=4, dtype=dtype)
    locations = between_pixels(SHAPES, locations)
    grad_output = torch.randn(2, 601, 2 * channels).to(dtype)
    wanted = run(value, SHAPES, locations, weights, grad_output)
    on_gpu = [tensor.cuda() for tensor in (value, locations, weights, grad_output)]
    first, second = (run(on_gpu[0], SHAPES, *on_gpu[1:]) for _ in range(2))
    for result, again, numbers in zip(first, second, wanted, strict=True):
        assert torch.equal(result, again)
        assert_near(result.cpu(), numbers, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_encoder_sorts_by_itself(dtype):
    # Queries are the pixels: taken in tiles, and the value's gradient is sorted also where nobody asks for it.
    pixels = sum(height * width for height, width in LARGE)
    value, locations, weights = make_inputs(LARGE, batch=1, heads=8, channels=32, queries=pixels, points=4, dtype=dtype)
    locations = between_pixels(LARGE, locations)
    grad_output = torch.randn(1, pixels, 256).to(dtype)
    wanted = run(value, LARGE, locations, weights, grad_output)
    on_gpu = [tensor.cuda() for tensor in (value, locations, weights, grad_output)]
    first, second = (run(on_gpu[0], LARGE, *on_gpu[1:]) for _ in range(2))
    assert torch.equal(first[1], second[1])
    for result, numbers in zip(first, wanted, strict=True):
        assert_near(result.cpu(), numbers, 2 * TOLERANCES[dtype])


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("narrow", [False, True])
def test_gpu_fused_agrees_with_cpu(dtype, size, narrow):
    value, locations, _ = make_inputs(channels=32, queries=33, points=5, dtype=dtype)
    others = make_fused(value, locations, size)
    if narrow:
        others = [tensor.to(dtype) for tensor in others]
    grad_output = torch.randn(2, 33, 64).to(dtype)
    exact = [tensor.double() for tensor in (value, *others, grad_output)]
    wanted = run_fused(exact[0], SHAPES, *exact[1:], function=ms_deform_attn_fused_reference)
    found = run_fused(value.cuda(), SHAPES, *(tensor.cuda() for tensor in (*others, grad_output)))
    tolerance = max(TOLERANCES[dtype], 1e-2 if narrow and dtype.itemsize == 2 else 0)
    for result, numbers in zip(found, wanted, strict=True):
        assert_near(result.cpu(), numbers, tolerance)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("size", [2, 4])
def test_gpu_fused_deterministic(size):
    value, locations, _ = make_inputs(channels=32, queries=333, points=4, dtype=torch.float32)
    inputs = [tensor.cuda() for tensor in (value, *make_fused(value, locations, size), torch.randn(2, 333, 64))]
    first, second = (run_fused(inputs[0], SHAPES, *inputs[1:]) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_gpu_writes_every_element():
    # Memory that comes back from the allocator is full of NaN.
    value, locations, weights = (tensor.cuda() for tensor in make_inputs(channels=32, queries=33, dtype=torch.float32))
    poison = [
        torch.full((count,), float("nan"), device="cuda") for count in (2**k for k in range(8, 20)) for _ in (0, 1)
    ]
    del poison
    for results in (run(value, SHAPES, locations, weights) for _ in range(3)):
        assert all(torch.isfinite(result).all() for result in results)


def test_gpu_strided_and_misaligned_inputs():
    value, locations, weights = make_inputs(channels=32, queries=9, dtype=torch.float32)
    wanted = run(value, SHAPES, locations, weights)
    flat = torch.cat([torch.zeros(1), value.flatten()]).cuda()
    shifted = flat[1:].view(value.shape)  # not where 16 bytes can be read at once
    strided = weights.cuda().transpose(0, 4).contiguous().transpose(0, 4)
    padded = torch.cat([locations, locations], -1).cuda()[..., :2]
    output = multi_scale_deformable_attention(shifted, SHAPES, padded, strided)
    assert_near(output.cpu(), wanted[0], 6e-6)


def test_gpu_current_stream():
    value, locations, weights = (tensor.cuda() for tensor in make_inputs(channels=32, queries=33, dtype=torch.float32))
    wanted = multi_scale_deformable_attention(value, SHAPES, locations, weights)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late = value * 2
        found = multi_scale_deformable_attention(late, SHAPES, locations, weights)
    stream.synchronize()
    assert torch.equal(found, wanted * 2)


@pytest.mark.usefixtures("deterministic")
def test_gpu_graph():
    # Nothing reads from the device, nothing waits for it: forward and sorted backward can be captured.
    value, locations, weights = (tensor.cuda() for tensor in make_inputs(channels=32, queries=33, dtype=torch.float32))
    flat = [size for shape in SHAPES for size in shape]
    gradient = torch.randn(2, 33, 64, device="cuda")

    def step():
        operators = torch.ops.querydet
        output = operators.ms_deform_attn(value, flat, locations, weights)
        grads = operators.ms_deform_attn_backward(value, flat, locations, weights, gradient, True, [True] * 3)
        return [output, *grads]

    for _ in range(3):
        wanted = step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_second_gpu():
    inputs = make_inputs(dtype=torch.float32)
    wanted = run(inputs[0], SHAPES, *inputs[1:])
    found = run(inputs[0].to("cuda:1"), SHAPES, *(tensor.to("cuda:1") for tensor in inputs[1:]))
    assert found[0].device == torch.device("cuda:1")
    for result, numbers in zip(found, wanted, strict=True):
        assert_near(result.cpu(), numbers, 6e-6)


def test_gpu_refuses_tensors_of_two_devices():
    value, locations, weights = make_inputs()
    with pytest.raises(ValueError, match="sampling_locations is on cpu, but value is on cuda"):
        multi_scale_deformable_attention(value.cuda(), SHAPES, locations, weights.cuda())


@pytest.mark.parametrize(("batch", "queries"), [(0, 3), (2, 0)])
def test_gpu_empty(batch, queries):
    value, locations, weights = (tensor.cuda() for tensor in make_inputs(batch=batch, queries=queries))
    results = run(value, SHAPES, locations, weights)
    assert results[0].shape == (batch, queries, 16)
    assert not results[1].any()


def test_gpu_levels_without_pixels():
    value, locations, weights = make_inputs(((0, 3), (5, 4), (2, 0)), channels=32, dtype=torch.float32)
    shapes = ((0, 3), (5, 4), (2, 0))
    wanted = run(value, shapes, locations, weights)
    found = run(value.cuda(), shapes, locations.cuda(), weights.cuda())
    for result, numbers in zip(found, wanted, strict=True):
        assert_near(result.cpu(), numbers, 6e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_gpu_outside(bad):
    value, locations, weights = (tensor.cuda() for tensor in make_inputs())
    results = run(value, SHAPES, torch.full_like(locations, bad), weights)
    assert not any(result.any() for result in results)


@pytest.mark.slow
def test_gpu_more_than_two_to_the_31_elements():
    height, heads, channels = 70000, 32, 1024
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("less than 40 GiB of GPU memory are free")
    value = torch.zeros(1, height, heads, channels, dtype=torch.bfloat16, device="cuda")
    value[0, -1] = 2
    locations = torch.full((1, 1, heads, 1, 1, 2), 0.5, device="cuda")
    locations[..., 1] = (height - 0.5) / height
    weights = torch.full((1, 1, heads, 1, 1), 3.0, device="cuda")
    output = multi_scale_deformable_attention(value, ((height, 1),), locations, weights)
    assert_near(output.cpu(), torch.full((1, 1, heads * channels), 6.0), 1e-2)
    for deterministic in (False, True):
        grads = torch.ops.querydet.ms_deform_attn_backward(
            value, [height, 1], locations, weights, torch.ones_like(output), deterministic, [True] * 3
        )
        assert_near(grads[0][0, -1].cpu(), torch.full((heads, channels), 3.0), 1e-2)


@pytest.mark.slow
def test_gpu_compiled():
    value, locations, weights = (tensor.cuda() for tensor in make_inputs(channels=32, dtype=torch.float32))
    function = torch.compile(multi_scale_deformable_attention, fullgraph=True, dynamic=True)
    wanted = multi_scale_deformable_attention(value, SHAPES, locations, weights)
    assert_near(function(value, SHAPES, locations, weights).cpu(), wanted.cpu(), 6e-6)
