"""The feed-forward block: its formula with both activations, and dropout where it belongs."""

import pytest
import torch

from querydet.modeling.layers import FeedForward, PReLUFeedForward, make_feed_forward


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("prelu", 0.25)])
def test_the_formula(activation: str, slope: float) -> None:
    torch.manual_seed(0)
    block = make_feed_forward(8, 16, 0.0, activation)
    values = torch.randn(2, 3, 8)
    hidden = values @ block.linear1.weight.T + block.linear1.bias
    hidden = torch.where(hidden > 0, hidden, slope * hidden)
    total = values + hidden @ block.linear2.weight.T + block.linear2.bias
    wanted = (total - total.mean(-1, keepdim=True)) / (total.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(block(values), wanted, atol=1e-5, rtol=1e-5)


def test_the_slope_of_prelu_is_one_number_that_learns() -> None:
    block = PReLUFeedForward(8, 16)
    block(torch.randn(5, 8)).square().sum().backward()
    assert block.activation.weight.shape == (1,)
    assert block.activation.weight.grad.any()


@pytest.mark.parametrize("kind", [FeedForward, PReLUFeedForward])
def test_dropout_acts_in_training_alone(kind: type[FeedForward]) -> None:
    torch.manual_seed(0)
    block, values = kind(8, 16, dropout=0.5), torch.randn(5, 8)
    assert not torch.equal(block(values), block(values))
    block.eval()
    assert torch.equal(block(values), block(values))


def test_all_of_an_update_can_be_dropped() -> None:
    """With probability 1 the residual connection is what remains."""
    block, values = FeedForward(8, 16, dropout=1.0), torch.randn(5, 8)
    torch.testing.assert_close(block(values), block.norm(values))


def test_an_activation_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of \['prelu', 'relu'\], found 'gelu'"):
        make_feed_forward(8, 16, 0.0, "gelu")
