import weakref

import pytest
import torch
from torch import nn

from querydet.fusion import InferenceForm, PackedLinear, choose_dtype, inference_form, precision
from tests.models import make_inputs, tiny_detector


@pytest.mark.parametrize(("gain", "dtype"), [(0.2, torch.float32), (1.1, torch.float32), (3.0, torch.bfloat16)])
def test_auto_takes_bfloat16_only_where_it_is_faster(monkeypatch, gain, dtype):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda device: gain)
    assert choose_dtype("auto", "cpu") == dtype
    assert choose_dtype("float32", "cpu") == torch.float32
    assert choose_dtype("bfloat16", "cpu") == torch.bfloat16


def test_the_gain_is_measured():
    assert precision.bfloat16_gain("cpu") > 0
    with pytest.raises(ValueError, match="half"):
        choose_dtype("half", "cpu")


def test_a_model_that_is_no_detector_computes_under_autocast():
    model, values = nn.Linear(4, 4), torch.randn(2, 4)
    assert inference_form(model) is model
    assert inference_form(model, "bfloat16")(values).dtype == torch.bfloat16
    assert model(values).dtype == torch.float32


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_the_form_is_made_again_only_when_weights_have_changed():
    detector, form = tiny_detector("dino").eval(), InferenceForm()
    first = form.of(detector)
    assert form.of(detector) is first
    assert any(isinstance(module, PackedLinear) for module in first.modules())
    inputs = make_inputs([(96, 128)])
    with torch.no_grad():
        before = first(inputs)[0]["instances"].scores
        for parameter in detector.heads.parameters():
            parameter.mul_(0.5)
        found, expected = form.of(detector)(inputs)[0]["instances"].scores, detector(inputs)[0]["instances"].scores
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, found, atol=1e-3)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_settings_of_the_detections_are_shared_with_the_detector():
    detector = tiny_detector("dino").eval()
    form = InferenceForm().of(detector)
    detector.postprocess.num_detections = 3
    with torch.no_grad():
        assert len(form(make_inputs([(96, 128)]))[0]["instances"]) <= 3


def test_what_a_form_was_made_of_lives_as_long_so_that_nothing_else_gets_its_identity():
    form, model = InferenceForm(), nn.Linear(2, 2)
    form.of(model)
    weight = weakref.ref(model.weight)
    model.weight = nn.Parameter(torch.zeros(2, 2))
    assert weight() is not None
    form.of(model)
    assert weight() is None
