"""What every mask head promises: masks of any queries of any image, in any size and at any points."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from querydet.mask_structures import ImageMasks
from querydet.modeling.masks import AttentionMapHead, PixelEmbedding
from querydet.modeling.masks.image_masks import ResizedMasks, WholeMasks, resize_maps
from querydet.modeling.masks.points import sample_maps
from tests.modeling.masks.scenes import HEADS, attention_map_head, features, hidden_states, pixel_embedding

Make = Callable[..., AttentionMapHead | PixelEmbedding]
SIZES = [(128, 192), (128, 64)]


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, wanted, atol=tolerance * max(1, wanted.abs().max().item()), rtol=0)


@pytest.fixture(params=HEADS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@torch.no_grad()
def test_masks_of_some_queries_are_rows_of_all(make: Make) -> None:
    masks, hidden = make()(features(SIZES)), hidden_states(2, 7)
    together = masks.of_batch(hidden)
    assert together.shape[:2] == (2, 7)
    assert masks.canvas == (128, 192)
    for image in range(2):
        close(masks.of_image(image, hidden[image]), together[image])
        close(masks.of_image(image, hidden[image, [5, 0, 0]]), together[image][[5, 0, 0]])
        assert masks.of_image(image, hidden[image, :0]).shape == (0, *together.shape[2:])


@torch.no_grad()
def test_permuted_queries_and_images_have_permuted_masks(make: Make) -> None:
    head, hidden = make(), hidden_states(2, 7)
    masks = head(features(SIZES)).of_batch(hidden)
    order = torch.tensor([3, 0, 6, 1, 2, 5, 4])
    close(head(features(SIZES)).of_batch(hidden[:, order]), masks[:, order])
    close(head(features(SIZES[::-1], images=[1, 0])).of_batch(hidden.flip(0)), masks.flip(0))


@torch.no_grad()
def test_many_queries_of_an_image_are_split_and_joined(make: Make) -> None:
    masks, hidden = make()(features([(64, 64)])), hidden_states(1, 70)
    close(masks.of_image(0, hidden[0]), masks.of_batch(hidden)[0])


@torch.no_grad()
def test_at_points_is_whole_masks_sampled(make: Make) -> None:
    masks, hidden = make()(features(SIZES)), hidden_states(2, 7)
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    points[:4] = torch.tensor([[0, 0], [1, 1], [0.001, 0.999], [0.5, 1]])
    for image in range(2):
        whole = masks.of_image(image, hidden[image])
        close(masks.at_points(image, hidden[image], points), sample_maps(whole, points.expand(7, -1, -1)))
        assert masks.at_points(image, hidden[image, :0], points).shape == (0, 40)


@pytest.mark.parametrize("size", [(128, 192), (3, 5), (1, 1), (16, 24)])
@torch.no_grad()
def test_resized_is_whole_masks_resized(make: Make, size: tuple[int, int]) -> None:
    masks, hidden = make()(features(SIZES)), hidden_states(2, 7)
    resized = masks.resized(size)
    wanted = torch.stack([resize_maps(each[:, None], size)[:, 0] for each in masks.of_batch(hidden)])
    assert resized.canvas == masks.canvas
    close(resized.of_batch(hidden), wanted)
    close(resized.of_image(1, hidden[1]), wanted[1])
    assert resized.of_image(1, hidden[1, :0]).shape == (0, *size)
    points = torch.rand(9, 2, generator=torch.Generator().manual_seed(0))
    close(resized.at_points(0, hidden[0], points), sample_maps(wanted[0], points.expand(7, -1, -1)))
    close(resized.resized((2, 2)).of_image(0, hidden[0]), resize_maps(wanted[0][:, None], (2, 2))[:, 0])


@pytest.mark.parametrize("sizes", [[(128, 192), (64, 320)], [(192, 64), (64, 128)], [(64, 64), (256, 192)]])
@torch.no_grad()
def test_padding_changes_no_mask(make: Make, sizes: list[tuple[int, int]]) -> None:
    """Sides are multiples of the coarsest stride: other sides have another scale between levels in a larger canvas."""
    head, hidden = make(), hidden_states(2, 5)
    together = head(features(sizes))
    for image, size in enumerate(sizes):
        alone = head(features([size], images=[image])).of_batch(hidden[image, None])[0]
        rows, columns = alone.shape[1:]
        close(together.of_image(image, hidden[image])[:, :rows, :columns], alone)


@pytest.mark.parametrize("sizes", [[(100, 150), (130, 90)], [(77, 201), (201, 78)]])
@torch.no_grad()
def test_padding_changes_no_mask_of_any_size_once_the_canvas_is_divided(
    make: Make, sizes: list[tuple[int, int]]
) -> None:
    """As with `size_divisibility=64`: what is left are the rounded sides of the levels, the same in every batch."""
    head, hidden = make(), hidden_states(2, 5)
    together = head(features(sizes, canvas=(256, 256)))
    for image, (height, width) in enumerate(sizes):
        canvas = (-(-height // 64) * 64, -(-width // 64) * 64)
        alone = head(features([(height, width)], canvas, images=[image])).of_batch(hidden[image, None])[0]
        stride = canvas[0] // alone.shape[1]
        rows, columns = -(-height // stride), -(-width // stride)
        close(together.of_image(image, hidden[image])[:, :rows, :columns], alone[:, :rows, :columns])


@torch.no_grad()
def test_the_released_codes_let_padding_change_masks(make: Make) -> None:
    head, hidden = make(ignore_padding=False), hidden_states(2, 5)
    together = head(features([(64, 128), (128, 192)])).of_image(0, hidden[0])
    alone = head(features([(64, 128)])).of_image(0, hidden[0])
    assert (together[:, : alone.shape[1], : alone.shape[2]] - alone).abs().max() > 1e-2


def test_gradients_reach_every_weight_and_no_queries_but_those_that_were_asked(make: Make) -> None:
    head, hidden = make(), hidden_states(2, 5).requires_grad_()
    head(features(SIZES)).of_image(0, hidden[0, 1:3]).square().sum().backward()
    without = [name for name, parameter in head.named_parameters() if parameter.grad is None]
    assert not without
    assert hidden.grad is not None
    assert hidden.grad.flatten(2).any(2).nonzero().tolist() == [[0, 1], [0, 2]]


def test_no_queries_give_every_weight_a_gradient_of_zero(make: Make) -> None:
    """So that distributed training waits for none."""
    head = make()
    head(features(SIZES)).of_image(0, hidden_states(2, 0)[0]).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_masks_are_in_full_precision_under_autocast(make: Make, dtype: torch.dtype) -> None:
    head, hidden = make(), hidden_states(2, 3)
    plain = head(features(SIZES)).of_batch(hidden)
    with torch.autocast("cpu", dtype):
        masks = head(features(SIZES))
        found = masks.of_batch(hidden)
        assert masks.at_points(0, hidden[0], torch.rand(4, 2)).dtype is torch.float32
        assert masks.resized((8, 8)).of_image(0, hidden[0]).dtype is torch.float32
    assert found.dtype is torch.float32
    close(found, plain, 0.1)


@torch.no_grad()
def test_masks_in_double_precision(make: Make) -> None:
    plain, double = make(), make().double()
    hidden, made = hidden_states(2, 3), features(SIZES)
    pyramids = [
        type(made.memory)(each.tokens.double(), each.position, each.padding, each.shapes, each.valid_ratios)
        for each in (made.neck, made.memory)
    ]
    maps = {name: values.double() for name, values in made.maps.items()}
    found = double(type(made)(maps, made.padding, *pyramids)).of_batch(hidden.double())
    assert found.dtype is torch.float64
    close(found.float(), plain(made).of_batch(hidden))


def test_a_head_of_one_s_own_needs_two_functions_only() -> None:
    class Constant(WholeMasks):
        """Masks that are the mean of the hidden state everywhere."""

        def of_batch(self, hidden: Tensor) -> Tensor:
            return hidden.mean(2)[..., None, None].expand(*hidden.shape[:2], 4, 6)

        def of_image(self, image: int, hidden: Tensor) -> Tensor:
            return self.of_batch(hidden[None])[0]

    masks: ImageMasks = Constant((16, 24))
    hidden = hidden_states(1, 3)
    resized = masks.resized((2, 3))
    assert isinstance(resized, ResizedMasks)
    close(resized.of_batch(hidden)[0], hidden[0].mean(1)[:, None, None].expand(3, 2, 3))
    inside = torch.full((1, 2), 0.5)
    close(masks.at_points(0, hidden[0], inside), hidden[0].mean(1, keepdim=True))


def test_heads_are_modules_with_the_traits_that_checks_read() -> None:
    for head, channels in ((attention_map_head(), {"res5": 12}), (pixel_embedding(), {"res2": 6})):
        assert isinstance(head, nn.Module)
        assert head.in_channels == channels
        assert head.embed_dim == 64
