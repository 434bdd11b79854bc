"""Networks of timm under a detector: small ones of the kinds that differ, and marked as slow many families."""

from typing import Any

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.modeling.backbone import SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import nn

from querydet.analysis.flops import build_on_meta, count_flops
from querydet.engine.faults.recomputation import recomputing
from querydet.engine.switches import checkpoint_activations
from querydet.modeling.backbones import TimmBackbone, padded_size
from tests.modeling.backbones.small import detector_on
from tests.models import make_inputs

timm = pytest.importorskip("timm", reason="the adapter to timm needs timm")

SIZES = [(117, 150), (97, 131)]
INCEPTION = (127.5, 127.5, 127.5)
SWIN = {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 3}
# name: options, and what images are padded to
SMALL: dict[str, tuple[dict[str, Any], int]] = {
    "test_resnet": ({}, 1),
    "test_efficientnet": ({}, 1),  # activations inside of its norms
    "test_convnext": ({}, 32),
    "swin_tiny_patch4_window7_224": (SWIN, 4),
}
FAMILIES = (
    *("resnet18", "resnext50_32x4d", "efficientnet_b0", "tf_efficientnetv2_b0", "regnety_002", "convnext_atto"),
    *("convnextv2_atto", "swinv2_tiny_window8_256", "pvt_v2_b0", "focalnet_tiny_srf", "ese_vovnet19b_dw"),
    *("mobilenetv3_small_050", "mobilenetv4_conv_small", "davit_tiny", "maxvit_rmlp_pico_rw_256", "cspdarknet53"),
    *("nextvit_small", "densenet121", "dla34", "hrnet_w18_small", "edgenext_xx_small", "fastvit_t8", "mobilevit_xxs"),
    *("poolformer_s12", "inception_next_atto", "tiny_vit_5m_224", "repvgg_a0", "efficientvit_b0", "dpn68"),
)


def node(name: str, **arguments: Any):
    """A config of the adapter that any detector takes, whatever its weights are for."""
    defaults = {"pixel_mean": [123.675, 116.28, 103.53], "pixel_std": [58.395, 57.12, 57.375]}
    return L(TimmBackbone)(name=name, **{**defaults, **arguments})


def check_training_and_detection(backbone: Any) -> None:
    detector = detector_on(backbone).train()
    inputs = make_inputs(SIZES, [2, 3])
    losses = detector(inputs)
    sum(losses.values()).backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        for found, (height, width) in zip(detector.eval()(inputs), SIZES, strict=True):
            assert len(found["instances"]) > 0
            assert found["instances"].image_size == (height, width)


@pytest.mark.parametrize("name", SMALL)
def test_a_step_reaches_every_trainable_parameter_and_images_are_padded_as_far_as_maps_need(name: str) -> None:
    options, divisor = SMALL[name]
    backbone = node(name, options=options)
    built = instantiate(backbone)
    assert built.size_divisibility == divisor
    height, width = padded_size(built, 117, 150)
    maps = built(torch.zeros(1, 3, height, width))
    for key, shape in built.output_shape().items():
        assert maps[key].shape == (1, shape.channels, -(-height // shape.stride), -(-width // shape.stride))
    check_training_and_detection(backbone)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str) -> None:
    check_training_and_detection(node(name))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_weights_have_timms_names(name: str) -> None:
    """But for what follows the last map."""
    whole = timm.create_model(name)
    built = TimmBackbone(name=name, norm="BN", out_features=["p4"] if name == "test_vit" else ["p3", "p4", "p5"])
    state = {key.removeprefix("net."): value for key, value in built.state_dict().items()}
    assert all(whole.state_dict()[key].shape == value.shape for key, value in state.items())
    left_out = {key.split(".")[0] for key in set(whole.state_dict()) - set(state)}
    assert left_out <= {"head", "fc", "norm", "fc_norm"}


@torch.no_grad()
def test_maps_are_those_of_timm() -> None:
    whole = timm.create_model("test_convnext", features_only=True, out_indices=(1, 2, 3)).eval()
    built = TimmBackbone(name="test_convnext").eval()
    mine = {key.replace("stages.", "stages_").replace("stem.", "stem_"): v for key, v in built.net.state_dict().items()}
    whole.load_state_dict(mine)
    images = torch.randn(1, 3, 64, 96)
    for ours, theirs in zip(built(images).values(), whole(images), strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_frozen_norms_keep_the_activations_inside_of_them() -> None:
    trained = TimmBackbone(name="test_efficientnet", norm="BN").eval()
    frozen = TimmBackbone(name="test_efficientnet", norm="FrozenBN").eval()
    frozen.load_state_dict(trained.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 96)
    for ours, theirs in zip(frozen(images).values(), trained(images).values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    assert not any("bn1" in name for name, _ in frozen.named_parameters())


def test_synchronized_norms() -> None:
    built = TimmBackbone(name="test_efficientnet", norm="SyncBN")
    assert any(isinstance(module, nn.SyncBatchNorm) for module in built.modules())


def test_drop_path_is_off_in_what_is_frozen() -> None:
    built = TimmBackbone(name="test_convnext", freeze=["stem", "stages.0", "stages.1"], options={"drop_path_rate": 0.9})
    images = torch.randn(1, 3, 64, 64)
    ones, others = (built.train()(images) for _ in range(2))
    assert torch.equal(ones["p3"], others["p3"])
    assert not torch.equal(ones["p5"], others["p5"])


def test_a_plain_transformer_is_put_into_a_pyramid() -> None:
    pyramid = L(SimpleFeaturePyramid)(
        net=node("test_vit", out_features=["p4"]),
        in_feature="p4",
        out_channels=16,
        scale_factors=[2.0, 1.0, 0.5],
        top_block=L(LastLevelMaxPool)(),
        norm="LN",
    )
    check_training_and_detection(pyramid)
    with pytest.raises(ValueError, match=r"no map of stride 8, 32, only of stride 16: .*p4.* into .*SimpleFeaturePyr"):
        TimmBackbone(name="test_vit")


def test_a_transformer_of_one_size_pads_to_a_square_also_inside_of_a_pyramid() -> None:
    small = {"embed_dim": 32, "depth": 1, "num_heads": 2}
    beit = node("beit_base_patch16_224", out_features=["p4"], square_pad=160, options=small)
    pyramid = L(SimpleFeaturePyramid)(
        net=beit, in_feature="p4", out_channels=16, scale_factors=[2.0, 1.0, 0.5], norm="LN", square_pad=0
    )
    assert padded_size(instantiate(pyramid), 117, 150) == (160, 160)
    check_training_and_detection(pyramid)
    with pytest.raises(ValueError, match=r"beit_base_patch16_224 cannot be used at any size.*square_pad=1024 builds"):
        TimmBackbone(name="beit_base_patch16_224", out_features=["p4"], options=small)


def test_recomputed_activations_change_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        detector = detector_on(node("test_convnext")).train()
        if recompute:
            checkpoint_activations(detector, ["backbone"])
            assert detector.backbone.net.stages[0].grad_checkpointing
        torch.manual_seed(1)
        sum(detector(make_inputs(SIZES, [2, 3])).values()).backward()
        gradients.append(detector.backbone.net.stem[0].weight.grad)
    torch.testing.assert_close(*gradients)


def test_a_step_that_is_computed_again_uses_timms_switch_and_turns_it_off() -> None:
    detector = detector_on(node("test_convnext")).train()
    with recomputing(detector):
        assert detector.backbone.activation_checkpointing
        assert "forward" not in vars(detector.backbone.net.stages[0])
    assert not detector.backbone.activation_checkpointing
    assert not detector.backbone.net.stages[0].grad_checkpointing


def test_flops_are_counted_at_the_padded_size() -> None:
    detector = detector_on(node("test_convnext"))
    assert count_flops(detector, 117, 150) == count_flops(detector, 128, 160)
    assert build_on_meta(node("test_resnet")).net.conv1[0].weight.is_meta


def test_the_tag_of_the_weights_decides_the_normalisation_and_a_detector_without_it_is_refused() -> None:
    backbone = L(TimmBackbone)(name="test_convnext.r160_in1k")
    built = instantiate(backbone)
    assert built.pixel_mean == built.pixel_std == INCEPTION
    with pytest.raises(
        ValueError, match=r"model.pixel_mean is \[123.675.*test_convnext.* are for \[127.5,127.5,127.5\]"
    ):
        detector_on(backbone)
    assert TimmBackbone(name="vit_base_patch16_clip_224.openai", out_features=["p4"], options={"depth": 1}).pixel_mean[
        0
    ] == pytest.approx(122.77, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "convnext_tinny"}, r"has no network 'convnext_tinny'; the nearest names are convnext_tiny"),
        ({"name": "hf-hub:someone/model"}, "has no network 'hf-hub:someone/model'"),
        ({"name": "local-dir:/somewhere"}, "has no network 'local-dir:/somewhere'"),
        ({"name": "test_resnet", "options": {"pretrained": True}}, "options.pretrained is not available: weights are"),
        ({"name": "test_resnet", "options": {"checkpoint_path": "x"}}, "options.checkpoint_path is not available"),
        ({"name": "resnet18.nobody_in1k"}, r"cannot build 'resnet18.nobody_in1k' .*tag \(nobody_in1k\)"),
        ({"name": "test_resnet.hf-hub:a/b"}, "Unknown model source 'test_resnet.hf-hub'"),
        ({"name": "test_resnet", "options": {"act_layer": "wings"}}, "cannot build 'test_resnet' with .*wings"),
        ({"name": "test_resnet", "options": {"wings": 2}}, r"cannot build 'test_resnet' with .*wings"),
        ({"name": "vit_tiny_patch14_224", "options": {"depth": 1}}, "no network"),
        ({"name": "vit_small_patch14_dinov2", "options": {"depth": 1}}, r"patches of 14 pixels have none .*patch_size"),
        ({"name": "efficientvit_m0"}, r"no map of stride 8, only of stride 16, 32, 64: set out_features to some of p4"),
    ],
)
def test_what_cannot_serve_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**arguments)


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match="TimmBackbone builds networks of timm: pip install timm"):
        TimmBackbone(name="test_resnet")
