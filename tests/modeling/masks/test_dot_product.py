"""Masks as products of queries and pixels: by hand, sizes, initial weights, refusals."""

import pytest
import torch
from torch import nn

from querydet.modeling.masks import PixelEmbedding
from querydet.modeling.masks.dot_product import DotProductMasks
from tests.modeling.masks.scenes import features, hidden_states, pixel_embedding


@torch.no_grad()
def test_products_by_hand() -> None:
    pixels = torch.tensor([[[[1.0, 2]], [[3, 4]]]])  # two channels of 1x2 pixels
    identity = nn.Linear(2, 2, bias=False)
    nn.init.eye_(identity.weight)
    masks = DotProductMasks(identity, pixels, (4, 8))
    hidden = torch.tensor([[[1.0, 0], [2, -1]]])
    assert masks.of_batch(hidden).tolist() == [[[[1, 2]], [[-1, 0]]]]
    assert masks.of_image(0, hidden[0, 1:]).tolist() == [[[-1, 0]]]
    assert masks.at_points(0, hidden[0], torch.tensor([[0.25, 0.5], [0.5, 0.5]])).tolist() == [[1, 1.5], [-1, -0.5]]


def test_other_sizes_and_points_compute_no_whole_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, hidden = pixel_embedding()(features([(64, 64)])), hidden_states(1, 3)
    monkeypatch.setattr(DotProductMasks, "of_image", None)
    assert masks.at_points(0, hidden[0], torch.rand(5, 2)).shape == (3, 5)
    assert masks.resized((4, 4)).of_batch(hidden).shape == (1, 3, 4, 4)


@pytest.mark.parametrize("size", [(64, 64), (100, 130), (33, 47)])
@torch.no_grad()
def test_masks_have_the_size_of_the_fine_map(size: tuple[int, int]) -> None:
    found = pixel_embedding()(features([size])).of_batch(hidden_states(1, 2))
    assert found.shape[2:] == (-(-size[0] // 4), -(-size[1] // 4))


def test_every_level_may_be_enlarged() -> None:
    for level in (-4, 1, 3, -1):
        assert pixel_embedding(level=level)(features([(64, 64)])).of_batch(hidden_states(1, 2)).isfinite().all()


def test_weights_of_the_released_shapes() -> None:
    head = PixelEmbedding(in_channels={"res2": 256})
    assert head.lateral.weight.shape == (256, 256, 1, 1)
    assert head.output.weight.shape == (256, 256, 3, 3)
    assert head.lateral.bias is None
    assert head.output.bias is None
    assert head.pixel_embed.bias is not None
    assert not head.pixel_embed.bias.any()
    bound = (3 / 256) ** 0.5  # kaiming uniform with a=1: the variance is one over the fan-in
    assert bound * 0.99 < head.lateral.weight.abs().max() <= bound
    assert PixelEmbedding(in_channels={"res2": 8}, mask_dim=16).pixel_embed.out_channels == 16


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"embed_dim must be a multiple of 32 .* found 48"):
        PixelEmbedding(in_channels={"res2": 256}, embed_dim=48)
    with pytest.raises(ValueError, match="reads one backbone map, found"):
        PixelEmbedding(in_channels={"res2": 256, "res3": 512})
