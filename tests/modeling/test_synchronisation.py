"""How often a training step makes the host wait for the device: once, to read what the assigners decide by."""

import warnings

import pytest
import torch
from torch import Tensor

from querydet.traits import trait
from querydet.utils.transfer import send, to_host
from tests.device import DEVICE, OnDevice, Synchronisations, move
from tests.models import COMPOSITIONS, make_inputs, tiny_detector

ONCE = {"copy to host": 1}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_training_step_waits_once(name: str) -> None:
    """Forward and backward, images of two sizes, one of them without objects; the losses are those of the CPU."""
    inputs = make_inputs([(64, 96), (96, 64), (64, 64)], [2, 5, 0])
    wanted = tiny_detector(name).train()(inputs)
    detector = move(tiny_detector(name).train())
    with Synchronisations() as waiting:
        losses = detector(inputs)
        sum(losses.values()).backward()
    assert waiting.kinds == ONCE, waiting.found
    assert losses.keys() == wanted.keys()
    # rounding decides where a query attends, where its mask is nearly 0
    tolerance = 1e-2 if trait(detector.decoder, "attends_in_masks") else 1e-5
    for key, loss in losses.items():
        torch.testing.assert_close(loss.inner, wanted[key], atol=tolerance, rtol=tolerance)
    gradients = [parameter.grad for parameter in detector.parameters() if parameter.grad is not None]
    assert len(gradients) > 60
    assert all(isinstance(gradient, OnDevice) for gradient in gradients)


def test_more_layers_images_and_objects_wait_no_more() -> None:
    detector = move(tiny_detector("dino", decoder__num_layers=4).train())
    with Synchronisations() as waiting:
        detector(make_inputs([(64, 64)] * 4, [1, 12, 3, 7]))
    assert waiting.kinds == ONCE, waiting.found


def test_predictions_that_are_not_finite_are_named_after_that_one_copy() -> None:
    detector = tiny_detector("dino").train()
    detector.pixel_std.fill_(torch.nan)
    with Synchronisations() as waiting, pytest.raises(FloatingPointError, match=r"in image0\.jpg"):
        move(detector)(make_inputs([(64, 64)], [2]))
    assert waiting.kinds == ONCE, waiting.found


def wait_in_every_way(values: Tensor, host: Tensor) -> None:
    values.sum().item()
    values.cpu()
    bool((values > 0).any())
    values.nonzero()
    values[values > 0]
    torch.tensor([1.0], device=values.device)
    host.to(values.device)
    values[host.long()]


def test_the_counter_sees_every_way_to_wait() -> None:
    with Synchronisations() as waiting:
        values = send(torch.rand(3), DEVICE)
        assert waiting.kinds == {}
        wait_in_every_way(values, torch.zeros(2))
    assert waiting.kinds == {"read": 4, "copy to host": 1, "copy to device": 2, "mix": 1}
    with pytest.raises(RuntimeError, match=r"tolist\(\) is not supported"):  # torch refuses by itself
        values.tolist()


def test_tensors_of_all_types_and_shapes_reach_the_host_in_one_copy() -> None:
    tensors = [
        torch.rand(3, 5),
        torch.tensor([True, False, True]),
        torch.arange(7),
        torch.empty(0, 4),
        torch.rand(2, 3, dtype=torch.float64).T,
        torch.tensor(2, dtype=torch.int8),
    ]
    with Synchronisations() as waiting:
        found = to_host([send(tensor, DEVICE) for tensor in tensors])
    assert waiting.kinds == ONCE
    for one, other in zip(found, tensors, strict=True):
        assert not isinstance(one, OnDevice)
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert to_host([]) == []


@needs_gpu
@pytest.mark.gpu
def test_on_a_gpu_torch_warns_once() -> None:
    detector = tiny_detector("dino").cuda().train()
    inputs = make_inputs([(64, 96), (96, 64)], [2, 5])
    sum(detector(inputs).values()).backward()  # memory and libraries
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        sum(detector(inputs).values()).backward()
        torch.cuda.set_sync_debug_mode("default")
    found = [str(each.message) for each in warned if "synchronizing" in str(each.message)]
    assert len(found) == 1, found
