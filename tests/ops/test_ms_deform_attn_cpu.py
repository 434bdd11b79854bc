"""The CPU kernels of deformable attention: instruction sets, other builds of the extension, very large tensors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from querydet.ops import multi_scale_deformable_attention
from querydet.ops.native import cpu_instruction_set
from querydet.ops.reference import ms_deform_attn_reference
from tests.ops.registered import needs_extension
from tests.ops.sampling import assert_near

ROOT = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "c++")) is None, reason="no C++ compiler to build the extension with"
)

AGREES_WITH_THE_DEFINITION = """
import sys, torch
from querydet.ops.native import cpu_instruction_set
from tests.ops import test_ms_deform_attn as plain, test_fused as fused
assert cpu_instruction_set() == sys.argv[1], cpu_instruction_set()
for channels in (5, 24, 32):
    for queries in (1, 40):
        plain.test_agrees_with_loops(channels, queries)
for dtype, tolerance in ((torch.float32, 2e-6), (torch.bfloat16, 5e-3), (torch.float16, 1e-3)):
    for queries in (2, 60):
        plain.test_precision(dtype, tolerance, 3, queries)
        fused.test_precision(dtype, tolerance, 4, queries)
plain.test_same_bits_for_every_thread_count(300, torch.float32)
fused.test_equals_the_unfused_steps(2, 5, 4, 32)
fused.test_equals_the_unfused_steps(4, 4, 4, 24)
"""


def run(*command, cwd=ROOT, **environment):
    variables = {**os.environ, "PYTHONPATH": str(cwd), **environment}
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@needs_extension
@pytest.mark.parametrize("name", ["baseline", "avx2"])
def test_narrower_instruction_sets_agree_with_the_definition(name):
    order = ["baseline", "avx2", "avx512"]
    if order.index(name) >= order.index(cpu_instruction_set()):
        pytest.skip(f"the other tests run {cpu_instruction_set()}, which is not wider than {name}")
    run(sys.executable, "-c", AGREES_WITH_THE_DEFINITION, name, QUERYDET_CPU=name)


@needs_extension
@pytest.mark.skipif(cpu_instruction_set() == "baseline", reason="this processor has no other instruction set")
def test_unknown_instruction_set_is_named():
    script = "from querydet.ops.native import cpu_instruction_set; cpu_instruction_set()"
    with pytest.raises(AssertionError, match="QUERYDET_CPU must be baseline, avx2 or avx512, but is sse9"):
        run(sys.executable, "-c", script, QUERYDET_CPU="sse9")


def build(folder, **environment):
    """A copy of the checkout with an extension of its own; returns how its tests are run."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("querydet", "ops", "tests", "configs", "projects"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    run(*command, cwd=folder, QUERYDET_REQUIRE_EXTENSION="1", FORCE_CUDA="0", **environment)
    names = ("test_ms_deform_attn", "test_fused")
    return [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(f"tests/ops/{n}.py" for n in names),
    ]


BUILDS = {  # the kernels of which instruction set are run, by what the build is told
    "baseline": {"QUERYDET_BASELINE_ONLY": "1"},  # as on aarch64, and as on x86-64 without AVX
    "avx512": {"CFLAGS": "-DQUERYDET_EMULATE_AVX512 -Wno-psabi"},  # their source, on any processor
}


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("instruction_set", BUILDS)
def test_build_for_another_processor(tmp_path, instruction_set):
    tests = build(tmp_path, **BUILDS[instruction_set])
    script = "from querydet.ops.native import cpu_instruction_set; print(cpu_instruction_set())"
    assert run(sys.executable, "-c", script, cwd=tmp_path).strip() == instruction_set
    assert "passed" in run(*tests, cwd=tmp_path)
    print(run(sys.executable, "-m", "tests.ops.fuzz", "--seconds", "60", cwd=tmp_path))


@pytest.mark.slow
@needs_compiler
def test_address_sanitizer_finds_nothing(tmp_path):
    compiler = os.environ.get("CXX", "g++")
    libraries = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=False
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    if not all(os.path.isabs(path) for path in libraries):
        pytest.skip(f"{compiler} has no address sanitizer: {libraries}")
    flags = "-fsanitize=address -fno-omit-frame-pointer"
    # One instruction set: the source is the same for all, and takes many minutes to compile for wide vectors.
    tests = build(tmp_path, CFLAGS=flags, LDFLAGS="-fsanitize=address", QUERYDET_BASELINE_ONLY="1")
    assert b"__asan_report_load" in (tmp_path / "querydet" / "_C.abi3.so").read_bytes()
    # Python and torch leak by design; what is looked for is access out of bounds.
    environment = {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "2"}
    assert "passed" in run(*tests, "-k", "not compiles and not exports", cwd=tmp_path, **environment)
    print(run(sys.executable, "-m", "tests.ops.fuzz", "--seconds", "120", cwd=tmp_path, **environment))


@pytest.mark.slow
@needs_extension
def test_more_than_2_to_the_31_numbers():
    # Pages of zeros that nobody writes to cost no memory: 4.5 GB are only promised.
    height = width = 2100
    heads, channels = 8, 64
    value = torch.from_numpy(np.zeros(height * width * heads * channels, dtype=np.uint16)).view(torch.bfloat16)
    value = value.view(1, height * width, heads, channels)
    assert value.numel() > 2**31
    corner = torch.randn(2, 2, heads, channels).bfloat16()
    image = value.view(1, height, width, heads, channels)
    image[0, -2:, -2:] = corner
    pixels = torch.tensor([[0.3, 0.6], [1.2, 1.1], [0.9, -0.4], [1.4, 0.0]])  # in the corner, from its first pixel on
    locations = ((pixels + (width - 2) + 0.5) / width).view(1, 1, 1, 1, 4, 2).expand(1, 3, heads, 1, 4, 2)
    weights = torch.rand(1, 3, heads, 1, 4)
    found = multi_scale_deformable_attention(value, [(height, width)], locations, weights)
    border = torch.zeros(1, 4, 4, heads, channels)  # the neighbourhood of the corner
    border[0, 2:, 2:] = corner.float()
    near = (((locations * width - 0.5) - (width - 4)) + 0.5) / 4
    wanted = ms_deform_attn_reference(border.flatten(1, 2), [(4, 4)], near, weights)
    assert wanted.abs().max() > 0.1
    assert_near(found, wanted, 1e-2)


@needs_extension
@pytest.mark.parametrize("length", [0, 2, 5])
@pytest.mark.parametrize("operator", ["ms_deform_attn_backward", "ms_deform_attn_fused_backward"])
def test_a_mask_of_another_length_is_refused(operator, length):
    value, points = torch.rand(1, 6, 2, 4), torch.rand(1, 3, 2, 1, 2, 2)
    references = [torch.rand(1, 3, 1, 2)] if "fused" in operator else []
    arguments = [value, [2, 3], *references, points, torch.rand(1, 3, 2, 1, 2), torch.rand(1, 3, 8), False]
    with pytest.raises(RuntimeError, match=f"output_mask must have [34] entries, but has {length}"):
        getattr(torch.ops.querydet, operator)(*arguments, [True] * length)


@needs_extension
@pytest.mark.parametrize("channels", [0, 4])
def test_without_channels_the_gradients_of_points_are_zero(channels):
    value, locations = torch.rand(1, 6, 2, channels), torch.rand(1, 3, 2, 1, 2, 2)
    for _ in range(20):  # memory that was used before
        torch.full((1000,), float("nan"))
        output = torch.zeros(1, 3, 2 * channels)
        grads = torch.ops.querydet.ms_deform_attn_backward(
            value, [2, 3], locations, torch.rand(1, 3, 2, 1, 2), output, False, [True] * 3
        )
        assert not any(grad.any() for grad in grads)
