"""Dropout: torch's own distribution and gradients, repeatable, and nothing in evaluation."""

import pytest
import torch
from torch import nn

from querydet.modeling.layers import Dropout


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drops_with_its_probability_and_keeps_the_mean(p, dtype):
    torch.manual_seed(0)
    values = torch.ones(1001, 999, dtype=dtype)
    found = Dropout(p)(values)
    assert found.dtype == dtype
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
    kept = found[found != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p) if p < 1 else 0), rtol=1e-2, atol=0)
    if p < 1 and dtype == torch.float32:
        assert found.mean().item() == pytest.approx(1, abs=2e-2)


def test_elements_are_independent_of_those_that_share_their_number():
    torch.manual_seed(0)
    dropped = (Dropout(0.3)(torch.ones(4 * 250_000)) == 0).view(-1, 4).double()
    assert dropped.mean(0).tolist() == pytest.approx([0.3] * 4, abs=5e-3)
    correlations = torch.corrcoef(dropped.T) - torch.eye(4)
    assert correlations.abs().max().item() < 1e-2


def test_gradient_passes_where_values_do():
    values = torch.rand(7, 5, dtype=torch.float64, requires_grad=True)
    found = Dropout(0.4)(values)
    found.sum().backward()
    torch.testing.assert_close(values.grad, (found / values).detach())


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(0, 3), (1,), (7, 5), (3, 40, 11)])
def test_rectified_is_dropout_after_a_relu_bit_by_bit(p, shape):
    values = torch.randn(shape, requires_grad=True)
    weight = torch.randn(shape)
    found = []
    for apply in (lambda module: module(values.relu()), lambda module: module.rectified(values)):
        torch.manual_seed(3)
        result = apply(Dropout(p))
        found.append((result.detach(), torch.autograd.grad((result * weight).sum(), values)[0]))
    for plain, rectified in zip(*found, strict=True):
        assert torch.equal(plain, rectified)
    assert torch.equal(Dropout(p).eval().rectified(values), values.relu())


def test_evaluation_and_zero_probability_change_nothing():
    values = torch.rand(3, 4)
    assert Dropout(0.5).eval()(values) is values
    assert torch.equal(Dropout(0.0)(values), values)


def test_empty_and_strided_inputs():
    assert Dropout(0.5)(torch.zeros(0, 3)).shape == (0, 3)
    values = torch.rand(6, 5).T
    found = Dropout(0.5)(values)
    assert torch.equal(found[found != 0], (values * 2)[found != 0])


def test_seed_repeats_the_mask_and_recomputation_draws_it_again():
    module, values = Dropout(0.3), torch.rand(50, 3, requires_grad=True)
    torch.manual_seed(5)
    first = module(values)
    torch.manual_seed(5)
    again = torch.utils.checkpoint.checkpoint(module, values, use_reentrant=False)
    assert torch.equal(first, again)
    grads = [torch.autograd.grad(each.sum(), values)[0] for each in (first, again)]
    assert torch.equal(*grads)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles(backend):
    module = nn.Sequential(nn.Linear(8, 8), Dropout(0.25))
    found = torch.compile(module, backend=backend)(torch.ones(400, 8))
    assert (found == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
    found.sum().backward()
    assert module[0].weight.grad.isfinite().all()
