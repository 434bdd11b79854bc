"""The benchmark of folded against joint attention computes the same thing in all of its forms, and counts memory."""

import importlib.util
from pathlib import Path

import pytest
import torch

from querydet.modeling.decoder.attention import ConditionalQueryAttention


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "group_attention.py"
    spec = importlib.util.spec_from_file_location("group_attention", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_folded_is_masked_and_not_joint(benchmark):
    torch.manual_seed(0)
    attention = ConditionalQueryAttention(32, 4)
    position, content = torch.randn(2, 2, 15, 32)
    folded, masked, joint = (benchmark.attend(form, attention, position, content, 3) for form in benchmark.FORMS)
    torch.testing.assert_close(folded, masked)
    assert (folded - joint).abs().max() > 1e-3


def test_plain_attention_keeps_less_when_it_is_folded(benchmark):
    """4 groups of 100 queries: maps of 8 x 4 x 100 x 100 numbers instead of 8 x 400 x 400."""
    folded, masked = (benchmark.measure(form, "plain", 4, 100, 1, 1)["kept_mib"] for form in ("folded", "masked"))
    saved = 8 * (400 * 400 - 4 * 100 * 100) * 4 / 2**20
    assert masked - folded == pytest.approx(saved, rel=0.1)
