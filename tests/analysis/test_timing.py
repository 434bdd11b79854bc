"""Times by part add up, belong to the right part, and leave the model as it was."""

import time

import pytest
import torch

from querydet.analysis.part_hooks import watch_parts
from querydet.analysis.timing import INFERENCE, TRAINING, PartTimer, time_inference, time_training
from tests.models import make_inputs, tiny_detector

SLOW = 0.1  # seconds, far above the time of a part of the small models


class Slow(torch.nn.Module):
    """A module that takes time."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs, **options):
        time.sleep(SLOW)
        return self.module(*inputs, **options)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.module, name)


def test_nested_parts_count_for_themselves():
    timer = PartTimer(torch.device("cpu"))
    samples = []
    for _ in range(5):
        with timer.part("outer"):
            time.sleep(0.01)
            with timer.part("inner"):
                time.sleep(0.03)
            time.sleep(0.01)
        samples.append(timer.collect())
    assert all(set(sample) == {"outer", "inner"} for sample in samples)
    # the fastest of the repeats: another program may take the processor in some
    fastest = {name: min(sample[name] for sample in samples) for name in ("outer", "inner")}
    assert 20 <= fastest["outer"] < 30 <= fastest["inner"] < 60
    assert timer.collect() == {}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_time_is_given_to_the_part_that_takes_it(part):
    model = tiny_detector("dino").train()
    inputs = make_inputs([(64, 64)])
    setattr(model, part, Slow(getattr(model, part)))
    timing = time_inference(model, inputs, repeats=3, warmup=1)
    medians = timing.milliseconds
    assert medians[part] >= 1000 * SLOW
    # the fastest of the repeats: another program may take the processor in some
    others = {name: min(values) for name, values in timing.samples.items() if name not in (part, "total")}
    assert max(others.values()) < 1000 * SLOW
    assert timing.repeats == 3
    assert set(medians) == {*INFERENCE, "other", "total"} - {"masks"}
    for number in range(3):
        parts = [values[number] for name, values in timing.samples.items() if name != "total"]
        assert sum(parts) == pytest.approx(timing.samples["total"][number])
    assert timing.peak_memory > 2**20
    assert model.training


@pytest.mark.parametrize(
    "name", ["dino", "deta", "ms_detr", "conditional_detr", "group_dn_detr", "mask2former", "dino_masks"]
)
def test_a_training_step_by_part(name):
    model = tiny_detector(name).eval()
    before = [parameter.clone() for parameter in model.parameters()]
    timing = time_training(
        model, make_inputs([(64, 64)], [2]), torch.optim.SGD(model.parameters(), 1e-3), repeats=2, warmup=0
    )
    absent = {part for part in ("denoising", "masks") if getattr(model, part) is None}
    assert set(timing.milliseconds) == {*TRAINING, "other", "total"} - absent
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_the_model_is_left_as_it_was():
    model = tiny_detector("dino").eval()
    state = dict(vars(model)), dict(vars(model.criterion))
    calls = []
    with (
        pytest.raises(ValueError, match="empty batch"),
        watch_parts(model, calls.append, lambda part: calls.append(f"end of {part}")),
    ):
        model([])
    assert calls == ["preprocess", "end of preprocess"]
    assert (dict(vars(model)), dict(vars(model.criterion))) == state
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for options in ({"repeats": 0}, {"warmup": -1}):
        with pytest.raises(ValueError, match="repeats must be at least 1"):
            time_inference(model, make_inputs([(64, 64)]), **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_parts_add_up_to_the_time_that_passes():
    model = tiny_detector("dino").cuda()
    inputs = make_inputs([(256, 256)], [3])
    timing = time_inference(model, inputs, repeats=5)
    torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.no_grad():
        model.eval()(inputs)
    torch.cuda.synchronize()
    passed = 1000 * (time.perf_counter() - start)
    assert timing.milliseconds["total"] == pytest.approx(passed, rel=0.5)
    assert 0 < timing.peak_memory < 2**30
