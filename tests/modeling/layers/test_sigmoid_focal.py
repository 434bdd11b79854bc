"""The focal loss of queries: torchvision's numbers, finite gradients, and little kept for the backward pass."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from querydet.modeling.layers import sigmoid_focal
from querydet.modeling.layers.sigmoid_focal import focal_loss_of_queries


def make_inputs(queries=23, classes=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(queries)
    logits = 4 * torch.randn(queries, classes, generator=generator, dtype=dtype)
    return logits.requires_grad_(), torch.randint(classes + 1, (queries,), generator=generator)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.9, 0.0), (0.5, 1.5)])
@pytest.mark.parametrize(("queries", "classes"), [(23, 5), (7, 1), (0, 3)])
def test_agrees_with_torchvision(alpha, gamma, queries, classes):
    logits, labels = make_inputs(queries, classes)
    one_hot = torch.eye(classes + 1, dtype=torch.float64)[labels, :classes]
    wanted = sigmoid_focal_loss(logits, one_hot, alpha, gamma).sum(1)
    found = focal_loss_of_queries(logits, labels, alpha, gamma)
    weights = torch.rand(queries, dtype=torch.float64)
    torch.testing.assert_close(found, wanted)
    (grad,) = torch.autograd.grad(found, logits, weights)
    torch.testing.assert_close(grad, torch.autograd.grad(wanted, logits, weights)[0])
    assert torch.autograd.gradcheck(lambda x: focal_loss_of_queries(x, labels, alpha, gamma), (logits,))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("logit", [-200.0, -60.0, 60.0, 200.0])
def test_extreme_logits_have_finite_losses_and_gradients(gamma, logit):
    logits = torch.full((2, 3), logit, requires_grad=True)
    loss = focal_loss_of_queries(logits, torch.tensor([1, 3]), 0.25, gamma)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_blocks_change_nothing_but_rounding(monkeypatch):
    logits, labels = make_inputs()
    wanted = focal_loss_of_queries(logits, labels)
    monkeypatch.setitem(sigmoid_focal.NUMBERS_AT_ONCE, "cpu", 11)
    found = focal_loss_of_queries(logits, labels)
    torch.testing.assert_close(found, wanted)
    grads = [torch.autograd.grad(each.sum(), logits)[0] for each in (found, wanted)]
    torch.testing.assert_close(*grads)


def test_only_inputs_are_kept():
    logits, labels = make_inputs()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda kept: kept):
        focal_loss_of_queries(logits, labels)
    assert {tensor.data_ptr() for tensor in kept} == {logits.data_ptr(), labels.data_ptr()}


def test_second_derivatives_raise():
    logits, labels = make_inputs()
    squared = focal_loss_of_queries(logits, labels).square().sum()
    (grad,) = torch.autograd.grad(squared, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
