"""The CUDA kernels of deformable attention without a GPU: that they compile, and compute the definition on the CPU."""

import functools
import importlib.util
import mmap
import subprocess
import sysconfig
from pathlib import Path

import pytest
import torch

from benchmarks.cuda_resources import find_tool
from querydet.ops.reference import (
    ms_deform_attn_fused_reference,
    ms_deform_attn_fused_reference_backward,
    ms_deform_attn_reference,
    ms_deform_attn_reference_backward,
)
from tests.ops.sampling import assert_near, between_pixels, make_inputs
from tests.reference.cuda_emulation import COMPILER, EmulatedKernels

ROOT = Path(__file__).parents[2]
# 39 pixels; a level without pixels in the middle.
SHAPES = ((5, 4), (0, 3), (3, 6), (1, 1))
SHAPES_WITH_PIXELS = ((5, 4), (1, 3), (3, 6), (1, 1))  # the same, to keep samples away from pixel centres
PIXELS = 39
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 5e-3, torch.float16: 1e-3, torch.float64: 1e-14}

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
needs_nvcc = pytest.mark.skipif(
    find_tool("nvcc") is None, reason="no nvcc: neither in CUDA_HOME, nor in /usr/local/cuda, nor on PATH"
)


def load_setup():
    spec = importlib.util.spec_from_file_location("querydet_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compile_source(name, architectures, folder):
    """Compiles one file as setup.py does, host code too; returns what the compiler says."""
    from torch.utils.cpp_extension import include_paths

    setup = load_setup()
    target = folder / f"{name}.o"
    command = [find_tool("nvcc"), *setup.NVCC_FLAGS, "-Xcompiler", "-fPIC", "-DUSE_CUDA", "-Xptxas", "-v"]
    command += [f"-DTORCH_TARGET_VERSION={setup.TORCH_TARGET_VERSION}"]
    command += [f"-gencode=arch=compute_{number},code=sm_{number}" for number in architectures]
    command += [part for path in (*include_paths(), sysconfig.get_path("include")) for part in ("-isystem", path)]
    command += ["-c", str(ROOT / setup.SOURCES / "cuda" / name), "-o", str(target)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert completed.returncode == 0, completed.stderr
    assert target.stat().st_size > 0
    for number in architectures:
        assert f"for 'sm_{number}'" in completed.stderr
    return completed.stderr


@needs_nvcc
def test_cuda_source_compiles(tmp_path):
    # before and since four floats can be added at once; all files and architectures are compiled by the slow tests
    assert "warning" not in compile_source("ms_deform_attn_cuda.cu", ("80", "90"), tmp_path)


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("name", load_setup().CUDA_SOURCES)
def test_cuda_sources_compile_for_three_architectures(tmp_path, name):
    assert "warning" not in compile_source(name, ("80", "90", "100"), tmp_path)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The kernels for a type of value, compiled once."""
    return functools.cache(lambda dtype: EmulatedKernels(tmp_path_factory.mktemp("cuda"), dtype))


def make_case(dtype, channels, points, heads=2, queries=37):
    """Inputs in their types, and the fused operator's, with samples outside, NaN and infinite among them."""
    generator = torch.Generator().manual_seed(channels + points)
    value, locations, weights = make_inputs(
        SHAPES, heads=heads, channels=channels, queries=queries, points=points, dtype=dtype, seed=channels
    )
    locations = between_pixels(SHAPES_WITH_PIXELS, locations)
    locations[0, 0, 0, :, 0, 0] = torch.tensor([float("nan"), float("inf"), 1e30, -1.0])
    locations[1, 3] = float("nan")  # no sample of this query is anywhere
    grad_output = torch.randn(2, queries, heads * channels, generator=generator).to(dtype)
    offsets = torch.randn(locations.shape, generator=generator).to(locations.dtype)
    logits = torch.randn(weights.shape, generator=generator).to(dtype)
    return value, locations, weights, grad_output, offsets, logits


def define(value, locations, weights, grad_output):
    exact = [tensor.double() for tensor in (value, locations, weights)]
    output = ms_deform_attn_reference(exact[0], SHAPES, *exact[1:])
    return [output, *ms_deform_attn_reference_backward(exact[0], SHAPES, *exact[1:], grad_output.double())]


def define_fused(value, references, offsets, logits, grad_output):
    exact = [tensor.double() for tensor in (value, references, offsets, logits)]
    output = ms_deform_attn_fused_reference(exact[0], SHAPES, *exact[1:])
    return [output, *ms_deform_attn_fused_reference_backward(exact[0], SHAPES, *exact[1:], grad_output.double())]


# channels, points: 16 bytes for each of 4, 8 and 16 threads, more channels than these hold, channels one by one;
# samples that fill a portion, a part of one, several
CASES = [(16, 3), (24, 4), (32, 5), (64, 1), (136, 2), (5, 3), (36, 9)]
LONG_CASES = [
    pytest.param(dtype, channels, points, sort, marks=pytest.mark.slow)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    for channels, points in (*CASES, (32, 4), (7, 40), (256, 3))
    for sort in (False, True)
]


@needs_compiler
@pytest.mark.parametrize(
    ("dtype", "channels", "points", "sort"),
    [
        *((torch.float32, *case, index % 2 == 0) for index, case in enumerate(CASES)),
        *((torch.bfloat16, *case, index % 2 == 1) for index, case in enumerate(CASES[:3])),
        *LONG_CASES,
    ],
)
def test_kernels_compute_the_definition(kernels, dtype, channels, points, sort):
    queries = PIXELS if sort else 37  # in tiles of the levels, or one after the other
    value, locations, weights, grad_output, *_ = make_case(dtype, channels, points, queries=queries)
    options = {"wide": channels % (16 // dtype.itemsize) == 0, "sort": sort, "tiled": sort}
    found = kernels(dtype).run(value, SHAPES, locations, weights, grad_output, **options)
    for result, wanted in zip(found, define(value, locations, weights, grad_output), strict=True):
        assert_near(result, wanted, TOLERANCES[dtype])


@needs_compiler
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(
    ("dtype", "channels", "points", "sort"), [(torch.float32, 32, 4, True), (torch.bfloat16, 24, 5, False), *LONG_CASES]
)
def test_fused_kernels_compute_the_definition(kernels, size, dtype, channels, points, sort):
    value, _, _, grad_output, offsets, logits = make_case(dtype, channels, points)
    references = torch.rand(2, 37, len(SHAPES), size, generator=torch.Generator().manual_seed(1)).to(offsets.dtype)
    wanted = define_fused(value, references, offsets, logits, grad_output)
    options = {"wide": channels % (16 // dtype.itemsize) == 0, "sort": sort, "references": references}
    found = kernels(dtype).run(value, SHAPES, offsets, logits.to(offsets.dtype), grad_output, **options)
    for result, numbers in zip(found, wanted, strict=True):
        assert_near(result, numbers, TOLERANCES[dtype])


@needs_compiler
def test_companions_in_the_type_of_value(kernels):
    # 16-bit coordinates are those numbers exactly; only what is written is rounded
    value, _, _, grad_output, offsets, logits = make_case(torch.bfloat16, 16, 3)
    references = torch.rand(2, 37, len(SHAPES), 4, generator=torch.Generator().manual_seed(1)).bfloat16()
    offsets = offsets.bfloat16()
    wanted = define_fused(value, references, offsets, logits, grad_output)
    found = kernels(torch.bfloat16).run(value, SHAPES, offsets, logits, grad_output, references=references)
    for result, numbers in zip(found, wanted, strict=True):
        assert_near(result, numbers, 5e-3)
    assert all(found[index].dtype == torch.bfloat16 for index in (2, 3, 4))


@needs_compiler
def test_fused_kernels_do_as_the_others_do(kernels):
    value, _, _, grad_output, offsets, logits = make_case(torch.float32, 32, 4)
    references = torch.rand(2, 37, len(SHAPES), 2, generator=torch.Generator().manual_seed(1))
    sizes = torch.tensor([(width, max(height, 1)) for height, width in SHAPES])
    locations = references[:, :, None, :, None] + offsets / sizes[:, None]
    weights = logits.flatten(3).softmax(-1).view(logits.shape)
    run = kernels(torch.float32).run
    fused = run(value, SHAPES, offsets, logits, grad_output, references=references)
    apart = run(value, SHAPES, locations, weights, grad_output)
    assert_near(fused[0], apart[0], 1e-6)
    assert_near(fused[1], apart[1], 1e-6)
    assert_near(fused[3], apart[2] / sizes[:, None], 4e-6)


@needs_compiler
def test_a_reference_that_is_not_a_number_is_outside(kernels):
    value, _, _, grad_output, offsets, logits = make_case(torch.float32, 16, 3)
    for size in (2, 4):
        references = torch.full((2, 37, len(SHAPES), size), float("nan"))
        for sort in (False, True):
            results = kernels(torch.float32).run(
                value, SHAPES, offsets, logits, grad_output, references=references, sort=sort
            )
            assert not any(result.any() for result in results)  # NaN would be true


@needs_compiler
@pytest.mark.parametrize("channels", [32, 5])
def test_sorted_sums_do_not_depend_on_the_order_of_threads(kernels, channels):
    # The emulation runs threads in another order every time. All samples are in two cells: runs share columns.
    value, locations, weights, grad_output, *_ = make_case(torch.float32, channels, 8)
    locations = locations * 0.01 + 0.4
    run = functools.partial(kernels(torch.float32).run, value, SHAPES, locations, weights, grad_output, sort=True)
    first, second = (run(wide=channels == 32) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    for result, wanted in zip(first, define(value, locations, weights, grad_output), strict=True):
        assert_near(result, wanted, 2e-6)
    few_planes = run(wide=channels == 32, planes_of_pass=3)
    assert_near(few_planes[1], first[1], 2e-6)


@needs_compiler
@pytest.mark.parametrize("wide", [True, False])
def test_what_is_not_sampled_does_not_leak(kernels, wide):
    # Samples stay on the right half of the first level; everything else is NaN. Some samples are outside.
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, 8), (2, 2))
    value = torch.full((1, 36, 1, 16), float("nan"))
    value[:, :32].view(1, 4, 8, 1, 16)[:, :, 4:] = torch.randn(1, 4, 4, 1, 16, generator=generator)
    locations = torch.rand(1, 9, 1, 2, 3, 2, generator=generator)
    locations[..., 0] = 0.6 + 0.5 * locations[..., 0]
    locations[:, :, :, 1] = 7.0
    locations[:, 2] = float("nan")
    weights = torch.rand(1, 9, 1, 2, 3, generator=generator)
    grad_output = torch.randn(1, 9, 16, generator=generator)
    for sort in (False, True):
        results = kernels(torch.float32).run(value, shapes, locations, weights, grad_output, wide=wide, sort=sort)
        assert all(torch.isfinite(result).all() for result in results)
        assert results[0].any()
        assert not results[1].view(36, 16)[32:].any()


@needs_compiler
def test_more_than_two_to_the_31_elements(kernels):
    # Memory that is only reserved: pages are made where the kernels read and write.
    height, heads, channels = 70000, 32, 1024
    count = height * heads * channels
    assert count > 2**31
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Linux; in Python's module from 3.13 on
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    kept = [mmap.mmap(-1, count * size, flags=flags) for size in (2, 4)]
    shape = (1, height, heads, channels)
    value, sums = (
        torch.frombuffer(memory, dtype=dtype).view(shape)
        for memory, dtype in zip(kept, (torch.bfloat16, torch.float32), strict=True)
    )
    value[0, -1] = 2
    locations = torch.full((1, 1, heads, 1, 1, 2), 0.5)
    locations[..., 1] = (height - 0.5) / height
    weights = torch.full((1, 1, heads, 1, 1), 3.0)
    grad_output = torch.ones(1, 1, heads * channels, dtype=torch.bfloat16)
    results = kernels(torch.bfloat16).run(value, ((height, 1),), locations, weights, grad_output, sum_value=sums)
    # in float32 the location is up to 2^-8 pixels beside the last one
    assert_near(results[0], torch.full((1, 1, heads * channels), 6.0), 1e-2)
    assert_near(sums[0, -1], torch.full((heads, channels), 3.0), 1e-2)
