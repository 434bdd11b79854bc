"""The CUDA kernels of deformable attention: that they compile, compute and, on a GPU, agree with the CPU."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

from querydet.layers import multi_scale_deformable_attention
from querydet.layers.ms_deform_attn_reference import ms_deform_attn_reference, ms_deform_attn_reference_backward
from tests.layers.sampling import SHAPES, assert_near, between_pixels, make_inputs, run

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++"))
ARCHITECTURES = ("80", "90")


def find_nvcc() -> str | None:
    candidates = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc", shutil.which("nvcc")]
    return next((str(path) for path in candidates if path and Path(path).is_file()), None)


def load_setup():
    spec = importlib.util.spec_from_file_location("querydet_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(find_nvcc() is None, reason="no nvcc: neither in CUDA_HOME, nor in /usr/local/cuda, nor on PATH")
def test_cuda_source_compiles(tmp_path):
    from torch.utils.cpp_extension import include_paths

    setup = load_setup()
    folders = [*include_paths(), sysconfig.get_path("include")]
    command = [find_nvcc(), *setup.NVCC_FLAGS, "-Xcompiler", "-fPIC", "-DUSE_CUDA"]
    command += [f"-DTORCH_TARGET_VERSION={setup.TORCH_TARGET_VERSION}", "-Xptxas", "-v"]
    command += [f"-gencode=arch=compute_{number},code=sm_{number}" for number in ARCHITECTURES]
    command += [part for folder in folders for part in ("-isystem", folder)]
    source, target = ROOT / setup.SOURCES / "cuda" / "ms_deform_attn_cuda.cu", tmp_path / "cuda.o"
    completed = subprocess.run(
        [*command, "-c", str(source), "-o", str(target)], capture_output=True, text=True, check=False, timeout=600
    )
    assert completed.returncode == 0, completed.stderr
    assert target.stat().st_size > 0
    for number in ARCHITECTURES:
        assert f"for 'sm_{number}'" in completed.stderr


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """The kernels compiled for the CPU."""
    target = tmp_path_factory.mktemp("cuda") / "cuda_on_cpu.so"
    source = ROOT / "tests" / "reference" / "cuda_on_cpu.cpp"
    command = [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC", "-pthread", str(source), "-o", str(target)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert completed.returncode == 0, completed.stderr
    return ctypes.CDLL(str(target))


def run_emulated(library, shapes, value, locations, weights, grad_output, wide, ordered):
    """The output and the three gradients, computed by the CUDA kernels on the CPU."""
    batch, pixels, heads, channels = value.shape
    queries, levels, points = (locations.shape[axis] for axis in (1, 3, 4))
    sizes = np.array([batch, pixels, heads, channels, queries, points, levels], dtype=np.int64)
    flat = np.array(shapes, dtype=np.int64)
    inputs = [tensor.contiguous().numpy() for tensor in (value, locations, weights)]
    gradient = grad_output.contiguous().numpy()
    # NaN where the kernels must write, zeros where they add.
    output = np.full(gradient.shape, np.nan, dtype=np.float32)
    grads = [np.zeros_like(inputs[0]), *(np.full_like(array, np.nan) for array in inputs[1:])]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (sizes, flat, *inputs, output, gradient, *grads)]
    library.forward(*pointers[:2], int(wide), *pointers[2:6])
    library.backward(*pointers[:2], int(wide), int(ordered), *pointers[2:5], *pointers[6:])
    return [torch.from_numpy(array) for array in (output, *grads)]


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("channels", [5, 24, 36])  # one group of lanes holds 32 channels, or 8 one by one
def test_kernels_compute_the_definition(emulated, channels, ordered):
    shapes = (*SHAPES, (0, 3))
    value, locations, weights = make_inputs(
        shapes, heads=3, channels=channels, queries=5, points=2, dtype=torch.float32
    )
    locations = between_pixels((*SHAPES, (1, 3)), locations)
    locations[0, 0, 0, :, 0, 0] = torch.tensor([float("nan"), float("inf"), 1e30, -1.0])
    grad_output = torch.randn(2, 5, 3 * channels)
    exact = [tensor.double() for tensor in (value, locations, weights)]
    wanted = [ms_deform_attn_reference(exact[0], shapes, *exact[1:])]
    wanted += ms_deform_attn_reference_backward(exact[0], shapes, *exact[1:], grad_output.double())
    for wide in {False, channels % 4 == 0}:
        found = run_emulated(emulated, shapes, value, locations, weights, grad_output, wide, ordered)
        for result, numbers in zip(found, wanted, strict=True):
            assert_near(result, numbers, 6e-6)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [5, 24, 32])
@pytest.mark.parametrize("deterministic", [False, True])
def test_gpu_agrees_with_cpu(dtype, channels, deterministic):
    value, locations, weights = make_inputs(channels=channels, queries=33, dtype=dtype)
    locations = between_pixels(SHAPES, locations)
    grad_output = torch.randn(2, 33, 2 * channels).to(dtype)
    wanted = run(value, SHAPES, locations, weights, grad_output)
    on_gpu = [tensor.cuda() for tensor in (value, locations, weights, grad_output)]
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        first, second = (run(on_gpu[0], SHAPES, *on_gpu[1:]) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(before)
    tolerance = {torch.float64: 1e-12, torch.float32: 6e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
    for result, numbers in zip(first, wanted, strict=True):
        assert_near(result.cpu(), numbers, tolerance)
    if deterministic:
        assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_second_gpu():
    inputs = make_inputs(dtype=torch.float32)
    wanted = multi_scale_deformable_attention(inputs[0], SHAPES, *inputs[1:])
    value, locations, weights = (tensor.to("cuda:1") for tensor in inputs)
    found = multi_scale_deformable_attention(value, SHAPES, locations, weights)
    assert found.device == value.device
    assert_near(found.cpu(), wanted, 6e-6)


@pytest.mark.gpu
@needs_gpu
def test_gpu_refuses_tensors_of_two_devices():
    value, locations, weights = make_inputs()
    with pytest.raises(ValueError, match="sampling_locations is on cpu, but value is on cuda"):
        multi_scale_deformable_attention(value.cuda(), SHAPES, locations, weights.cuda())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(("batch", "queries"), [(0, 3), (2, 0)])
def test_gpu_empty(batch, queries):
    value, locations, weights = (tensor.cuda() for tensor in make_inputs(batch=batch, queries=queries))
    assert run(value, SHAPES, locations, weights)[0].shape == (batch, queries, 16)


@pytest.mark.gpu
@needs_gpu
def test_gpu_outside():
    value, locations, weights = (tensor.cuda() for tensor in make_inputs())
    results = run(value, SHAPES, torch.full_like(locations, float("nan")), weights)
    assert not any(result.any() for result in results)
