"""The weights among the contents of a file."""

import pytest
import torch

from querydet.checkpoint.weights import find_weights

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state", ""])
def test_weights_are_found_under_every_usual_key(key):
    found = find_weights({key: STATE, "epoch": 3} if key else STATE, "x")
    assert set(found.state) == set(STATE)
    assert found.source == key
    assert not found.notes


def test_wrapper_prefix_is_removed_and_mixed_prefixes_refused():
    wrapped = {"module." + name: value for name, value in STATE.items()}
    found = find_weights({"model": wrapped}, "x")
    assert set(found.state) == set(STATE)
    assert "'module.' of a wrapper was removed" in found.notes[0]
    with pytest.raises(ValueError, match="mixes two models"):
        find_weights({"model": {**wrapped, "bias": STATE["bias"]}}, "x")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single_with_a_note(dtype):
    found = find_weights({"model": {name: value.to(dtype) for name, value in STATE.items()}}, "x")
    assert all(value.dtype == torch.float32 for value in found.state.values())
    assert f"2 tensors are stored in {str(dtype)[6:]}" in found.notes[0]


def test_average_is_taken_when_asked_for_or_alone():
    average = {"module." + name: value + 1 for name, value in STATE.items()}
    both = {"model": STATE, "ema_model": average}
    assert torch.equal(find_weights(both, "x").state["bias"], STATE["bias"])
    assert find_weights(both, "x").other == "ema_model"
    assert torch.equal(find_weights(both, "x", ema=True).state["bias"], STATE["bias"] + 1)
    alone = find_weights({"ema_model": average}, "x")
    assert torch.equal(alone.state["bias"], STATE["bias"] + 1)
    assert "only the moving average" in alone.notes[0]
    with pytest.raises(ValueError, match="holds no moving average"):
        find_weights({"model": STATE}, "x", ema=True)


def test_content_without_weights_is_described():
    with pytest.raises(ValueError, match=r"holds no weights under model, .*but epoch \(int\)"):
        find_weights({"epoch": 3}, "x")
    with pytest.raises(ValueError, match="'weight': str instead of a tensor"):
        find_weights({"model": {"weight": "x"}}, "x")
