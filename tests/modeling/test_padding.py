"""What an image is batched with changes nothing: padding is kept out of every stage."""

import pytest
import torch
from torch import Tensor

from querydet.modeling.geometry import padding_mask
from querydet.structures import TokenPyramid
from tests.models import COMPOSITIONS, make_inputs, tiny_detector


def pyramid(padded: bool) -> TokenPyramid:
    """Levels of 4x6 and 2x3 tokens, alone or in the corner of 8x12 and 4x6 maps of padding full of garbage."""
    generator = torch.Generator().manual_seed(0)
    tokens, positions, masks, shapes = [], [], [], []
    for height, width in ((4, 6), (2, 3)):
        image = torch.randn(2, height, width, 32, generator=generator)
        size = (2 * height, 2 * width) if padded else (height, width)
        maps = torch.full((2, *size, 32), 1e3)
        maps[:, :height, :width] = image
        mask = torch.ones(size, dtype=torch.bool)
        mask[:height, :width] = False
        tokens.append(maps[0].flatten(0, 1))
        positions.append(maps[1].flatten(0, 1))
        masks.append(mask.flatten())
        shapes.append(size)
    return TokenPyramid(
        tokens=torch.cat(tokens)[None],
        position=torch.cat(positions)[None],
        padding=torch.cat(masks)[None],
        shapes=tuple(shapes),
        valid_ratios=torch.full((1, 2, 2), 0.5 if padded else 1.0),
    )


@pytest.mark.parametrize(("name", "seed"), [*((name, 0) for name in COMPOSITIONS), ("dino", 1), ("deformable_detr", 4)])
@torch.no_grad()
def test_an_image_alone_is_the_image_in_a_padded_batch(name: str, seed: int) -> None:
    """From a backbone without borders on; sizes are multiples of the coarsest stride."""
    own = {"neck__ignore_padding": True, "masks__head__ignore_padding": True} if "mask2former" in name else {}
    detector = tiny_detector(name, seed=seed, **own).double().eval()  # in float32 two tokens may happen to score alike
    strides = {name: shape.stride for name, shape in detector.backbone.output_shape().items()}
    finest = min(strides[name] for name in detector.neck.in_channels)
    unit = finest * 2 ** (max(4, detector.neck.num_levels) - 1)  # one map has few tokens to select from
    sizes = [(unit, 2 * unit), (2 * unit, unit), (2 * unit, 3 * unit)]
    inputs = make_inputs(sizes)
    maps = detector.backbone(detector.preprocess(inputs).tensor)
    masks = padding_mask(detector.preprocess(inputs))
    (together,) = detector.predict(maps, masks)
    for index, (height, width) in enumerate(sizes):
        alone_inputs = detector.preprocess(inputs[index : index + 1])
        (alone,) = detector.predict(detector.backbone(alone_inputs.tensor), padding_mask(alone_inputs))
        assert alone_inputs.tensor.shape[-2:] == (height, width)
        torch.testing.assert_close(together.logits[index], alone.logits[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.boxes[index], alone.boxes[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "key", "released"),
    [
        ("dino", "neck__ignore_padding", False),
        ("deformable_detr", "selection__usable_only", False),
        ("dino", "decoder__query_position__frame", "padded"),
    ],
)
@torch.no_grad()
def test_the_released_codes_let_padding_change_detections(name: str, key: str, released: object) -> None:
    """So that the test above can fail; whether padding is selected depends on the weights."""
    inputs = make_inputs([(64, 128), (128, 192)])
    changes = []
    for seed in range(6):
        detector = tiny_detector(name, seed=seed, selection__num_queries=60, **{key: released}).eval()
        images, first = detector.preprocess(inputs), detector.preprocess(inputs[:1])
        (together,) = detector.predict(detector.backbone(images.tensor), padding_mask(images))
        (alone,) = detector.predict(detector.backbone(first.tensor), padding_mask(first))
        changes.append((together.logits[0] - alone.logits[0]).abs().max().item())
    assert max(changes) > 1e-3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["deformable_detr", "deformable_detr_pp", "deformable_detr_one_stage", "dino", "dn_detr"]
)
@torch.no_grad()
def test_padding_does_not_change_what_follows_the_neck(name: str, seed: int) -> None:
    channels = {"res4": 16, "res5": 32}
    detector = tiny_detector(
        name, seed=seed, neck__num_levels=2, neck__in_channels=channels, backbone__channels=channels
    ).eval()

    def run(features: TokenPyramid) -> tuple[Tensor, Tensor]:
        memory = detector.encoder(features)
        queries = detector.compose_queries(detector.selection(memory, training=False), None)
        (last,) = detector.heads(detector.decoder(queries, memory, detector.heads), queries.groups, last_only=True)
        return last.logits, last.boxes

    for alone, padded in zip(run(pyramid(padded=False)), run(pyramid(padded=True)), strict=True):
        torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_image_in_a_batch_of_equal_sizes_is_the_image_alone() -> None:
    detector = tiny_detector().eval()
    inputs = make_inputs([(96, 128), (96, 128)])
    together = detector(inputs)[1]["instances"]
    alone = detector(inputs[1:])[0]["instances"]
    torch.testing.assert_close(together.pred_boxes.tensor, alone.pred_boxes.tensor, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(together.scores, alone.scores)


@torch.no_grad()
def test_the_padding_mask_is_the_same_in_training_and_evaluation() -> None:
    detector = tiny_detector()
    images = detector.preprocess(make_inputs([(96, 128), (80, 64)]))
    mask = padding_mask(images)
    assert mask.shape == (2, 96, 128)
    assert not mask[0].any()
    assert not mask[1, :80, :64].any()
    assert mask[1, 80:].all()
    assert mask[1, :, 64:].all()
