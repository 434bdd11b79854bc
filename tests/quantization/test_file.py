"""Files of 8-bit detectors: what is loaded computes what was saved, and nothing else is loaded."""

import pytest
import torch

from querydet.checkpoint.quantized import KEY
from querydet.fusion import inference_form
from querydet.quantization import detector as detectors
from querydet.quantization.file import load_detector, load_quantized, save_quantized
from querydet.quantization.support import float_type, missing_support
from tests.models import make_inputs, tiny_detector

pytestmark = pytest.mark.skipif(bool(missing_support()), reason=f"no 8-bit products here: {missing_support()}")

SIZES = [(96, 128), (64, 101)]
NAMES = list("abcde")


def save(path, name="dino"):
    """Write a detector and return it."""
    observed = detectors.observe(tiny_detector(name).eval())
    detectors.calibrate(observed, [make_inputs(SIZES)])
    codes = detectors.make_codes(observed, ["encoder.layers.1.ffn"])
    save_quantized(observed, codes, str(path), NAMES, {"observer": "minmax", "images": 2})
    return detectors.convert(observed, codes, float_type())


def detect(detector):
    with torch.inference_mode():
        return [output["instances"] for output in detector(make_inputs(SIZES))]


def changed(path, target, **changes):
    """Write a file with other entries, "model" and "quantization" being updated; return its path."""
    content = torch.load(path, weights_only=True)
    for key, value in changes.items():
        content[key].update(value)
        content[key] = {name: entry for name, entry in content[key].items() if entry is not None}
    torch.save(content, target)
    return str(target)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("quantized") / "model_int8.pth"
    return path, save(path)


@pytest.mark.parametrize("load", [load_quantized, load_detector])
def test_a_loaded_detector_is_the_one_that_was_saved(file, load):
    path, saved = file
    loaded, names = load(tiny_detector("dino", seed=1).eval(), str(path))
    assert names == NAMES
    for found, expected in zip(detect(loaded), detect(saved), strict=True):
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(found.pred_classes, expected.pred_classes)
    assert inference_form(loaded) is loaded


def test_a_file_holds_plain_values_and_most_weights_as_codes(file):
    content = torch.load(file[0], weights_only=True)
    assert content[KEY]["images"] == 2
    assert content[KEY]["observer"] == "minmax"
    sizes = {"codes": 0, "numbers": 0}
    for name, value in content["model"].items():
        if name.endswith(".weight") and value.dim() > 1 and name.startswith("encoder") and "layers.1.ffn" not in name:
            sizes["codes" if value.dtype == torch.int8 else "numbers"] += value.numel()
    assert sizes["codes"] > 0
    assert sizes["numbers"] == 0


def test_a_checkpoint_is_loaded_as_ever(tmp_path):
    from querydet.checkpoint import Checkpointer

    model = tiny_detector("dino")
    Checkpointer(model, str(tmp_path), class_names=NAMES).save("model")
    other = tiny_detector("dino", seed=1)
    loaded, names = load_detector(other, str(tmp_path / "model.pth"))
    assert loaded is other
    assert names == NAMES
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())


def test_another_config_is_refused(file):
    with pytest.raises(ValueError, match=r"instead of|another config"):
        load_quantized(tiny_detector("dino", encoder__num_layers=1).eval(), str(file[0]))
    with pytest.raises(ValueError, match=r"instead of|another config"):
        load_quantized(tiny_detector("dino", encoder__layer__ffn_dim=64).eval(), str(file[0]))
    with pytest.raises(ValueError, match="misread"):
        load_quantized(tiny_detector("dino", neck__position_embedding__temperature=7).eval(), str(file[0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({KEY: {"version": 99}}, "version 99"),
        ({KEY: {"layers": "all"}}, "does not name its layers"),
        ({KEY: {"layers": ["nothing"]}}, "no layer of this detector"),
        ({KEY: {"kind": "other"}}, "no detector in 8 bit"),
        ({"model": {"{}.weight": None}}, "weight of .* is missing"),
        ({"model": {"{}.weight": torch.zeros(3)}}, "weight of .* is torch.float32 of shape"),
        ({"model": {"{}.entry": torch.tensor([0.0, 3.0]).double()}}, "are no codes"),
        ({"model": {"{}.entry": torch.tensor([1.0, 256.0]).double()}}, "are no codes"),
        ({"model": {"{}.entry": torch.tensor([1.0, 0.5]).double()}}, "are no codes"),
        ({"model": {"{}.weight_scale": torch.zeros(32)}}, "not positive"),
        ({"model": {"{}.bias": torch.full((32,), torch.nan)}}, "NaN"),
        ({"model": {"surplus": torch.zeros(2)}}, "of another config"),
        ({"model": {"neck.level_embed": None}}, "of another config"),
    ],
)
def test_damaged_files_are_refused(file, tmp_path, changes, message):
    layer = "encoder.layers.0.attention.value_proj"
    named = {key: {name.format(layer): value for name, value in entries.items()} for key, entries in changes.items()}
    path = changed(file[0], tmp_path / "changed.pth", **named)
    with pytest.raises(ValueError, match=message):
        load_quantized(tiny_detector("dino").eval(), path)


def test_it_needs_a_cpu_and_its_operators(file, monkeypatch):
    with pytest.raises(ValueError, match="runs on a CPU"):
        load_quantized(tiny_detector("dino").double().eval(), str(file[0]))
    monkeypatch.setattr("querydet.quantization.support.OPERATORS", ("qlinear_of_the_future",))
    with pytest.raises(ValueError, match="qlinear_of_the_future"):
        load_quantized(tiny_detector("dino").eval(), str(file[0]))
