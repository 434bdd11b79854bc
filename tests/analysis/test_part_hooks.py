"""Parts of a detector are seen to begin and to end, and the detector stays as it was."""

import pytest
import torch

from querydet.analysis.part_hooks import MODULES, watch_parts
from tests.models import make_inputs, tiny_detector


class Trace:
    """What began and ended, and that parts end in the reverse order of their beginnings."""

    def __init__(self):
        self.open, self.entered = [], []

    def enter(self, part):
        self.entered.append((part, self.open[-1] if self.open else None))
        self.open.append(part)

    def leave(self, part):
        assert self.open.pop() == part


def test_parts_of_inference_follow_each_other():
    model, trace = tiny_detector("dino").eval(), Trace()
    with watch_parts(model, trace.enter, trace.leave), torch.no_grad():
        model(make_inputs([(64, 96)]))
    assert trace.open == []
    outermost = [part for part, parent in trace.entered if parent is None]
    before = ["preprocess", "backbone", "neck", "encoder", "selection", "decoder"]
    assert outermost == [*before, "heads", "postprocess"]


def test_masks_are_made_from_the_encoded_image_and_for_the_detections():
    model, trace = tiny_detector("mask_deformable_detr").eval(), Trace()
    with watch_parts(model, trace.enter, trace.leave), torch.no_grad():
        model(make_inputs([(64, 96)]))
    assert trace.open == []
    outermost = [part for part, parent in trace.entered if parent is None]
    assert outermost[3:] == ["encoder", "masks", "selection", "decoder", "heads", "postprocess", "masks"]


def test_a_training_step_has_denoising_and_losses_with_the_assignment_inside():
    model, trace = tiny_detector("dino").train(), Trace()
    with watch_parts(model, trace.enter, trace.leave):
        model(make_inputs([(64, 96)], [2]))
    assert trace.open == []
    parents = dict(trace.entered)
    assert {"denoising", "losses", "assignment"} <= set(parents)
    assert parents["assignment"] == "losses"
    assert "postprocess" not in parents


@pytest.mark.parametrize("part", ["encoder", "postprocess"])
def test_a_part_that_fails_ends(part, monkeypatch):
    model, trace = tiny_detector("dino").eval(), Trace()

    def fail(*_, **__):
        raise RuntimeError("broken")

    if part == "encoder":
        monkeypatch.setattr(model.encoder, "forward", fail)
    else:
        monkeypatch.setattr(model, "postprocess", fail)
    with watch_parts(model, trace.enter, trace.leave), pytest.raises(RuntimeError, match="broken"):
        model(make_inputs([(64, 96)]))
    assert trace.entered[-1][0] == part
    assert trace.open == []


def test_nothing_is_watched_afterwards():
    model, trace = tiny_detector("dino").eval(), Trace()
    before = {name: getattr(model, name) for name in ("preprocess", "postprocess", "criterion")}
    with watch_parts(model, trace.enter, trace.leave):
        pass
    assert {name: getattr(model, name) for name in before} == before
    modules = [getattr(model, name, None) for name in MODULES]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules if module is not None)
    with torch.no_grad():
        model(make_inputs([(64, 96)]))
    assert trace.entered == []
