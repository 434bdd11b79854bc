"""With the extension, without it, and how its operators are switched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from querydet.ops import fused_deformable_attention, multi_scale_deformable_attention
from querydet.ops.native import separate_operators
from tests.ops.registered import needs_extension
from tests.ops.sampling import SHAPES, assert_near, between_pixels, make_inputs
from tests.ops.test_fused import make_inputs as make_fused_inputs


def test_separate_operators():
    inputs = make_fused_inputs(reference_dim=4)
    with torch.profiler.profile() as profile, separate_operators():
        found = fused_deformable_attention(inputs[0], SHAPES, *inputs[1:])
    assert_near(found, fused_deformable_attention(inputs[0], SHAPES, *inputs[1:]), 1e-12)
    ours = {event.name for event in profile.events() if event.name.startswith("querydet::")}
    assert ours == {"querydet::ms_deform_attn"}


WITHOUT_EXTENSION = """
import logging, torch
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from querydet.ops import multi_scale_deformable_attention, native
assert native.MISSING_EXTENSION, "the extension was loaded"
from tests.ops.sampling import SHAPES, between_pixels, make_inputs
value, locations, weights = make_inputs(SHAPES[:2], batch=1, channels=3, queries=3, points=2)
inputs = tuple(t.requires_grad_() for t in (value, between_pixels(SHAPES[:2], locations), weights))
function = lambda v, x, w: multi_scale_deformable_attention(v, SHAPES[:2], x, w)
torch.autograd.gradcheck(function, inputs, fast_mode=True)
flat = [size for shape in SHAPES[:2] for size in shape]
results = torch.library.opcheck(torch.ops.querydet.ms_deform_attn, (inputs[0], flat, *inputs[1:]))
assert set(results.values()) == {"SUCCESS"}, results
assert torch.compile(function, fullgraph=True, backend="aot_eager")(*inputs).allclose(function(*inputs))
print("sum", function(*inputs).sum().item())
"""


def test_operator_without_the_extension():
    environment = {**os.environ, "QUERYDET_NO_EXTENSION": "1"}
    completed = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTENSION],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    said = [line for line in completed.stderr.splitlines() if "PyTorch definition" in line]
    assert len(said) == 1, completed.stderr
    assert "QUERYDET_NO_EXTENSION is set" in said[0]
    assert "Remedy: unset QUERYDET_NO_EXTENSION" in said[0]
    value, locations, weights = make_inputs(SHAPES[:2], batch=1, channels=3, queries=3, points=2)
    here = multi_scale_deformable_attention(value, SHAPES[:2], between_pixels(SHAPES[:2], locations), weights)
    assert float(completed.stdout.split("sum")[1]) == pytest.approx(here.sum().item(), rel=1e-12)


@needs_extension
def test_the_extension_loads_before_torch():
    """`import querydet._C` alone, as somebody who looks for what is missing does."""
    subprocess.run([sys.executable, "-c", "import querydet._C, sys; assert 'torch' not in sys.modules"], check=True)
