"""What is kept for the backward pass and put out by matrix products, by hand; peaks of memory."""

import pytest
import torch
from torch import nn

from querydet.analysis.activation_memory import KeptActivations, count_activations, peak_memory, reset_peak_memory
from querydet.analysis.measure import count_kept
from tests.models import make_inputs, tiny_detector


def test_each_piece_of_memory_is_kept_once_and_weights_are_not():
    linear = nn.Linear(8, 4)
    inputs = torch.randn(5, 8)
    counter = KeptActivations(linear)

    def forward():
        counter.enter("linear")
        hidden = linear(inputs)  # keeps its input, and its weight, which does not count
        counter.leave("linear")
        return (hidden.exp() + hidden.view(20).sin().view(5, 4)).sum()  # keep the result of exp, and the input of sin

    kept = counter.count(forward)
    # the input of the linear layer needs no gradient, but its weight's gradient needs it
    assert kept.bytes_by_part == {"linear": 5 * 8 * 4, "": 2 * 5 * 4 * 4}
    assert (kept.tensors, kept.bytes) == (3, 5 * 8 * 4 + 2 * 5 * 4 * 4)
    assert counter.count(lambda: None).bytes == 0


def test_activation_checkpointing_keeps_less():
    kept = {}
    for checkpointed in (False, True):
        model = tiny_detector("dino").train()
        model.encoder.activation_checkpointing = checkpointed
        kept[checkpointed] = count_kept(model, make_inputs([(64, 96)], [2]))
    assert kept[True].bytes_by_part["encoder"] < kept[False].bytes_by_part["encoder"] / 3
    assert kept[True].bytes_by_part["decoder"] == pytest.approx(kept[False].bytes_by_part["decoder"], rel=0.01)
    assert {"backbone", "neck", "selection", "heads", "losses"} < set(kept[False].bytes_by_part)


def test_activations_by_hand():
    model = tiny_detector("dino")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = count_activations(model, 64, 96)
    # 1x1 convolutions of the pooled maps of stride 8, 16 and 32 to 8, 16 and 32 channels
    assert found["backbone"] == 8 * 12 * 8 + 4 * 6 * 16 + 2 * 3 * 32
    # two layers on S tokens of width 32: value and output projections, offsets and weights of 4 heads, 4 levels and 4
    # points, and the feed-forward block of 48
    tokens = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2
    assert found["encoder"] == 2 * tokens * (32 + 32 + 4 * 4 * 4 * 3 + 48 + 32)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="positive size"):
        count_activations(model, 0, 5)


def test_the_peak_is_of_what_happened_since_the_reset():
    device = torch.device("cpu")
    big = torch.ones(100_000_000)  # 400 MB, of which other memory of the process may hide some
    high = peak_memory(device)
    del big
    reset_peak_memory(device)
    low = peak_memory(device)
    assert high - low > 150 * 2**20
    big = torch.ones(75_000_000)
    assert peak_memory(device) - low > 75 * 2**20
    del big
