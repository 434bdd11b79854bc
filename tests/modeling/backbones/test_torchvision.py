"""Classifiers of torchvision under a detector."""

from typing import Any

import pytest
import torch
import torchvision
from detectron2.config import LazyCall as L
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from querydet.modeling.backbones import TorchvisionBackbone, padded_size
from tests.modeling.backbones.small import detector_on
from tests.models import make_inputs

SIZES = [(117, 150), (97, 131)]
# name: layers of the maps of stride 8, 16 and 32, and what images are padded to
SMALL = {
    "resnet18": (["layer2", "layer3", "layer4"], 1),
    "mobilenet_v3_small": (["features.3", "features.8", "features.12"], 1),
    "regnet_y_400mf": (["trunk_output.block2", "trunk_output.block3", "trunk_output.block4"], 1),
    "convnext_tiny": (["features.3", "features.5", "features.7"], 32),
}
FAMILIES = (
    *("resnet50", "resnext50_32x4d", "convnext_tiny", "swin_t", "swin_v2_t", "regnet_y_400mf", "efficientnet_b0"),
    *("mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "densenet121", "vgg11_bn"),
)


@pytest.mark.parametrize("name", ["regnet_x_400mf", "swin_v2_t"])
def test_networks_are_built_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        backbone = TorchvisionBackbone(name=name)
    assert all(value.is_meta for value in backbone.state_dict().values())


def check_training_and_detection(backbone: Any) -> None:
    detector = detector_on(backbone).train()
    inputs = make_inputs(SIZES, [2, 3])
    sum(detector(inputs).values()).backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        assert all(len(found["instances"]) > 0 for found in detector.eval()(inputs))


def test_a_step_reaches_every_trainable_parameter() -> None:
    check_training_and_detection(L(TorchvisionBackbone)(name="resnet18"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str) -> None:
    check_training_and_detection(L(TorchvisionBackbone)(name=name))


@pytest.mark.slow
def test_a_network_of_windows_that_divide_one_size_pads_to_a_square() -> None:
    check_training_and_detection(L(TorchvisionBackbone)(name="maxvit_t", square_pad=224))


@pytest.mark.parametrize(
    "name", [name if name == "mobilenet_v3_small" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
@torch.no_grad()
def test_maps_are_those_of_torchvision_and_weights_have_its_names(name: str) -> None:
    layers, divisor = SMALL[name]
    whole = torchvision.models.get_model(name, weights=None).eval()
    built = TorchvisionBackbone(name=name, norm="BN").eval()
    assert built.size_divisibility == divisor
    state = {key.removeprefix("net."): value for key, value in built.state_dict().items()}
    assert all(whole.state_dict()[key].shape == value.shape for key, value in state.items())
    missing = whole.load_state_dict(state, strict=False).missing_keys
    assert {key.split(".")[0] for key in missing} <= {"fc", "classifier"}
    height, width = padded_size(built, 117, 150)
    images = torch.randn(1, 3, height, width)
    wanted = create_feature_extractor(whole, layers)(images)
    for (key, found), theirs in zip(built(images).items(), wanted.values(), strict=True):
        torch.testing.assert_close(found, theirs)
        assert found.shape[1] == built.output_shape()[key].channels


@torch.no_grad()
def test_maps_with_channels_last_are_turned() -> None:
    options = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": [3, 3]}
    swin = torchvision.models.SwinTransformer(patch_size=[4, 4], **options)
    built = TorchvisionBackbone.__new__(TorchvisionBackbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, "get_model", lambda *_, **__: swin)
        built.__init__(name="swin_t")
    assert {name: (shape.channels, shape.stride) for name, shape in built.output_shape().items()} == {
        "p3": (16, 8),
        "p4": (32, 16),
        "p5": (64, 32),
    }
    assert tuple(built(torch.zeros(1, 3, 64, 96))["p4"].shape) == (1, 32, 4, 6)


def test_frozen_norms_compute_what_those_in_evaluation_do() -> None:
    trained = TorchvisionBackbone(name="resnet18", norm="BN").eval()
    frozen = TorchvisionBackbone(name="resnet18").train()
    frozen.load_state_dict(trained.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(frozen(images)["p5"], trained(images)["p5"])
    synchronized = TorchvisionBackbone(name="resnet18", norm="SyncBN")
    assert any(isinstance(module, nn.SyncBatchNorm) for module in synchronized.modules())


def test_stages_are_frozen_by_torchvisions_names() -> None:
    built = TorchvisionBackbone(name="resnet18", norm="BN", freeze=["conv1", "bn1", "layer1"]).train()
    assert not built.net.layer1[0].bn1.training
    assert built.net.layer2[0].bn1.training
    assert not any(parameter.requires_grad for parameter in built.net.conv1.parameters())


def test_the_normalisation_is_that_of_the_weights() -> None:
    assert TorchvisionBackbone(name="resnet18").pixel_mean == pytest.approx((123.675, 116.28, 103.53))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, r"has no classifier 'resnet19'; the nearest names are resnet"),
        ({"name": "fasterrcnn_resnet50_fpn"}, "has no classifier"),
        ({"name": "resnet18", "options": {"weights": "DEFAULT"}}, "options.weights is not available: weights are"),
        ({"name": "resnet18", "options": {"num_classes": -4}}, "cannot build 'resnet18' with .*-4"),
        ({"name": "resnet18", "options": {"wings": 2}}, "cannot build 'resnet18' with .*wings"),
        ({"name": "alexnet"}, "has no map whose sides are those of the image divided by a power of 2"),
    ],
)
def test_what_cannot_serve_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchvisionBackbone(**arguments)
