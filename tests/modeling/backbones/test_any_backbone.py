"""Every kind of Detectron2's backbones under a detector, on images whose sides divide by nothing."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone import ResNet
from torch import nn

from querydet.analysis.activation_memory import count_activations
from querydet.analysis.flops import build_on_meta, count_flops
from querydet.config import get_config
from querydet.config.files import save_config
from querydet.config.safe_yaml import load_yaml
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.structures import PredictionSet
from tests.device import DEVICE, OnDevice, Synchronisations, move
from tests.modeling.backbones.small import BACKBONES, PADDED_TO_32, small_config, small_detector
from tests.models import make_inputs

SIZES = [(97, 131), (101, 75)]
SHIPPED = (*BACKBONES, "resnet_dc5")


def predict(detector: QueryDetector, inputs: list[dict]) -> PredictionSet:
    """The last predictions for a batch."""
    images = detector.preprocess(inputs)
    return detector.detect(images.tensor, padding_mask(images))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_configs_name_the_maps_and_channels_that_the_backbone_gives(name: str) -> None:
    """And the maps of a batch have the sizes that their strides promise, rounded up."""
    shipped = get_config(f"common/backbones/{name}.py")
    backbone = build_on_meta(shipped.backbone)
    shapes = backbone.output_shape()
    assert {key: shapes[key].channels for key in shapes} == dict(shipped.in_channels)
    height, width = (96, 160) if name in PADDED_TO_32 else SIZES[0]
    with torch.device("meta"):
        maps = backbone(torch.empty(1, 3, height, width))
    for key, shape in shapes.items():
        assert maps[key].shape == (1, shape.channels, -(-height // shape.stride), -(-width // shape.stride)), key


@pytest.mark.parametrize("name", SHIPPED)
def test_a_config_written_to_a_file_builds_the_same_backbone(name: str, tmp_path: Path) -> None:
    shipped = get_config(f"common/backbones/{name}.py")
    path = str(tmp_path / "config.yaml")
    save_config(shipped, path)
    built = [build_on_meta(each.backbone) for each in (shipped, load_yaml(path))]
    assert str(built[0]) == str(built[1])
    assert {key: value.shape for key, value in built[0].state_dict().items()} == {
        key: value.shape for key, value in built[1].state_dict().items()
    }


@pytest.mark.parametrize("name", ["resnet_fpn", "vit", "mvit"])
def test_a_full_detector_on_the_shipped_backbone_has_the_published_backbones_parameters(name: str) -> None:
    """ViT-B: 85.8 M of the transformer without its classifier and the pyramid of two layers for each of three maps."""
    shipped = get_config(f"common/backbones/{name}.py")
    model = get_config("common/models/dino.py").model
    model.backbone, model.neck.in_channels = shipped.backbone, shipped.in_channels
    detector = build_on_meta(model)
    counts = {"resnet_fpn": 26_143_424, "vit": 89_333_120, "mvit": 23_405_472}
    assert sum(parameter.numel() for parameter in detector.backbone.parameters()) == counts[name]


@pytest.mark.parametrize("name", BACKBONES)
def test_a_training_step_reaches_every_trainable_parameter(name: str) -> None:
    detector = small_detector(name).train()
    losses = detector(make_inputs(SIZES, [2, 3]))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    trainable = {key: parameter for key, parameter in detector.named_parameters() if parameter.requires_grad}
    assert any(key.startswith("backbone.") for key in trainable)
    for key, parameter in trainable.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_it_detects_alone_and_in_a_padded_batch(name: str) -> None:
    detector = small_detector(name).eval()
    inputs = make_inputs([*SIZES, (33, 190)])
    together = [found["instances"] for found in detector(inputs)]
    alone = [detector([each])[0]["instances"] for each in inputs]
    for found, each in zip(together + alone, inputs * 2, strict=True):
        height, width = each["image"].shape[1:]
        boxes = found.pred_boxes.tensor
        assert len(found) > 0
        assert found.image_size == (height, width)
        assert boxes.min() >= 0
        assert bool((boxes <= torch.tensor([width, height, width, height])).all())


@pytest.mark.parametrize("name", PADDED_TO_32)
@torch.no_grad()
def test_an_image_alone_is_the_image_in_a_batch_that_is_padded_to_the_same_size(name: str) -> None:
    """Which holds for any backbone; in larger batches convolutions and attention see more padding, as in Detectron2."""
    detector = small_detector(name).double().eval()
    inputs = make_inputs([(97, 131), (101, 140), (128, 129)])
    together = predict(detector, inputs)
    for index, each in enumerate(inputs):
        assert detector.preprocess([each]).tensor.shape[-2:] == (128, 160)
        alone = predict(detector, [each])
        torch.testing.assert_close(together.logits[index], alone.logits[0], atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(together.boxes[index], alone.boxes[0], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_other_images_of_a_batch_change_nothing(name: str) -> None:
    detector = small_detector(name).double().eval()
    inputs = make_inputs(SIZES)
    wanted = predict(detector, inputs)
    inputs[1]["image"] = 255 - inputs[1]["image"]
    found = predict(detector, inputs)
    torch.testing.assert_close(found.logits[0], wanted.logits[0], atol=1e-9, rtol=1e-9)
    assert not torch.allclose(found.logits[1], wanted.logits[1], atol=1e-6)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_every_pixel_is_seen(name: str) -> None:
    """Without padding, patches would drop what lies beyond the last whole one."""
    detector = small_detector(name).double().eval()
    (each,) = make_inputs(SIZES[:1])
    maps = detector.backbone(detector.preprocess([each]).tensor)
    for last in ((slice(None), -1), (slice(None), slice(None), -1)):
        changed = {**each, "image": each["image"].clone()}
        changed["image"][last] = 255 - changed["image"][last]
        others = detector.backbone(detector.preprocess([changed]).tensor)
        assert any(not torch.allclose(maps[key], others[key], atol=1e-6) for key in maps)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_masks_and_valid_ratios_are_those_of_the_images(name: str) -> None:
    """Of the finest map: rows and columns whose nearest pixel is image."""
    detector = small_detector(name).eval()
    images = detector.preprocess(make_inputs(SIZES))
    mask = padding_mask(images)
    assert mask.shape == (2, *images.tensor.shape[-2:])
    for row, (height, width) in zip(mask, SIZES, strict=True):
        assert not row[:height, :width].any()
        assert int((~row).sum()) == height * width
    assert not images.tensor[mask[:, None].expand_as(images.tensor)].any()
    pyramid = detector.neck(detector.backbone(images.tensor), mask)
    rows, columns = pyramid.shapes[0]
    for ratios, (height, width) in zip(pyramid.valid_ratios[:, 0], SIZES, strict=True):
        wanted = torch.tensor([-(-width // 8) / columns, -(-height // 8) / rows])
        torch.testing.assert_close(ratios, wanted)


@pytest.mark.parametrize("name", BACKBONES)
def test_levels_of_one_pixel(name: str) -> None:
    """Images of a few pixels, in training and detection."""
    config = small_config(name)
    config.selection.num_queries = 2
    detector = instantiate(config)
    inputs = make_inputs([(11, 13), (9, 32)], [1, 2])
    images = detector.preprocess(inputs)
    pyramid = detector.neck(detector.backbone(images.tensor), padding_mask(images))
    assert pyramid.shapes[-1] == (1, 1)
    assert not pyramid.padding[:, -1].any()
    assert all(loss.isfinite() for loss in detector.train()(inputs).values())
    with torch.no_grad():
        assert all(len(found["instances"]) > 0 for found in detector.eval()(inputs))


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_counted_is_what_the_backbone_pads_the_image_to(name: str) -> None:
    detector = small_detector(name)
    size, padded = SIZES[0], detector.preprocess(make_inputs(SIZES[:1])).tensor.shape[-2:]
    assert tuple(padded) == ((128, 160) if name in PADDED_TO_32 else size)
    assert count_flops(build_on_meta(small_config(name)), *size) == count_flops(detector, *padded)
    assert count_activations(detector, *size)["backbone"] == count_activations(detector, *padded)["backbone"] > 0


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_crosses_between_host_and_device_where_tensors_are_made_on_the_device(name: str) -> None:
    """As while a CUDA graph is recorded; Detectron2's transformers name no device for their tables of positions."""
    detector = small_detector(name).eval()
    batch = detector.preprocess(make_inputs(SIZES))
    images, padding = OnDevice(batch.tensor), OnDevice(padding_mask(batch))
    move(detector)
    with torch.no_grad(), DEVICE, Synchronisations() as waiting:
        detector.detect(images, padding)
    assert (waiting.kinds, waiting.sent) == ({}, 0), waiting.found


@pytest.mark.parametrize(("name", "key"), [("resnet_fpn", "p5"), ("swin", "p2"), ("vit", "p4"), ("mvit", "scale4")])
def test_dense_attention_on_one_map(name: str, key: str) -> None:
    """DETR's parts; any map will do."""
    detector = small_detector(name, "detr", [key]).train()
    losses = detector(make_inputs(SIZES, [2, 3]))
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("norm", ["FrozenBN", "SyncBN"])
@pytest.mark.parametrize(("depth", "width"), [(18, 128), (34, 128), (50, 512), (101, 512)])
def test_resnets_of_every_depth_with_frozen_and_synchronized_norms(depth: int, width: int, norm: str) -> None:
    config = get_config("common/backbones/resnet.py").backbone
    config.stem.norm = norm
    config.stages = L(ResNet.make_default_stages)(depth=depth, norm=norm)
    backbone = build_on_meta(config).train()
    shapes = backbone.output_shape()
    assert [(shapes[name].channels // width, shapes[name].stride) for name in ("res3", "res4", "res5")] == [
        (1, 8),
        (2, 16),
        (4, 32),
    ]
    kinds = {name.split(".")[0]: type(module) for name, module in backbone.named_modules() if name.endswith("norm")}
    trained = nn.SyncBatchNorm if norm == "SyncBN" else FrozenBatchNorm2d
    assert kinds == {"stem": FrozenBatchNorm2d, "res2": FrozenBatchNorm2d, **dict.fromkeys(shapes, trained)}
    assert {name.split(".")[0] for name, parameter in backbone.named_parameters() if not parameter.requires_grad} == {
        "stem",
        "res2",
    }
