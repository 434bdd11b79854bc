"""Stacks of layers: copies with weights of their own, and recomputation that changes nothing."""

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.layers import FeedForward
from querydet.modeling.layers.stack import redrawn, run_layer, stack_layers


def test_layers_are_copies_with_weights_of_their_own() -> None:
    torch.manual_seed(0)
    first = FeedForward(8, 16)
    stack = stack_layers(first, 3)
    assert stack[0] is first
    assert len(stack) == 3
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(stack[one].linear1.weight, stack[other].linear1.weight)
    for layer in stack:
        bound = (6 / 24) ** 0.5  # Xavier, which the block draws, and not torch's own
        assert 0.9 * bound < layer.linear1.weight.abs().max() <= bound


@pytest.mark.parametrize("number", [0, -1])
def test_at_least_one_layer(number: int) -> None:
    with pytest.raises(ValueError, match=f"num_layers must be at least 1, found {number}"):
        stack_layers(nn.Linear(2, 2), number)


class Zeros(nn.Module):
    """A linear layer that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.linear.weight)


def test_an_initialisation_of_a_module_overrides_that_of_the_layers_inside() -> None:
    copied = redrawn(nn.Sequential(Zeros(), nn.Linear(3, 3)))
    assert not copied[0].linear.weight.any()
    assert copied[1].weight.any()


def test_a_copy_changes_nothing_in_the_original() -> None:
    original = nn.Sequential(nn.Linear(3, 3), nn.MultiheadAttention(4, 2))
    before = {name: value.clone() for name, value in original.state_dict().items()}
    copied = redrawn(original)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
    assert not torch.equal(copied[0].weight, original[0].weight)
    assert not torch.equal(copied[1].in_proj_weight, original[1].in_proj_weight), "torch calls its own by _reset_..."


def test_a_module_that_makes_its_copies_itself_does() -> None:
    class Counter(nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def another(self) -> "Counter":
            return Counter(self.number + 1)

    assert redrawn(Counter(1)).number == 2


class Noting(nn.Module):
    """Counts its calls, and returns two results of two inputs, one of them None."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(3, 3), 0

    def forward(self, values: Tensor, other: Tensor | None) -> tuple[Tensor, Tensor | None]:
        self.calls += 1
        return self.linear(values).tanh(), other


def test_recomputation_runs_a_layer_again_and_gives_the_same_gradients() -> None:
    layer, values = Noting(), torch.randn(2, 3)
    gradients = []
    for recompute, calls in ((False, 1), (True, 2)):
        layer.zero_grad()
        layer.calls = 0
        result, other = run_layer(layer, recompute, values, None)
        assert other is None
        result.sum().backward()
        assert layer.calls == calls
        gradients.append(layer.linear.weight.grad.clone())
    assert torch.equal(*gradients)


def test_nothing_is_recomputed_without_a_backward_pass() -> None:
    layer = Noting()
    with torch.no_grad():
        run_layer(layer, True, torch.randn(2, 3), None)
    assert layer.calls == 1
