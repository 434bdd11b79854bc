"""Where tokens and images lie, by hand and beside torch's own resizing."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch._subclasses.fake_tensor import FakeTensorMode

from querydet.modeling.geometry import (
    mask_padding,
    may_have_padding,
    padding_mask,
    pixel_centres,
    repeat_levels,
    resize_mask,
    valid_ratio,
    valid_sizes,
)
from querydet.structures import TokenPyramid


def test_padding_is_what_is_right_of_or_below_the_image() -> None:
    padding = mask_padding(torch.tensor([[2, 3], [4, 1]]), (4, 3))
    assert padding[0].tolist() == [[False] * 3, [False] * 3, [True] * 3, [True] * 3]
    assert padding[1].tolist() == [[False, True, True]] * 4


def test_the_padding_of_a_batch_is_that_of_its_images_sizes() -> None:
    images = ImageList.from_tensors([torch.rand(3, 2, 3), torch.rand(3, 4, 1)], size_divisibility=4)
    assert images.tensor.shape[-2:] == (4, 4)
    assert torch.equal(padding_mask(images), mask_padding(torch.tensor([[2, 3], [4, 1]]), (4, 4)))


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (13, 20), (26, 41), (40, 50)])
def test_masks_are_resized_to_nearest_neighbours_as_by_torch(size: tuple[int, int]) -> None:
    padding = mask_padding(torch.tensor([[26, 30], [17, 41]]), (26, 41))
    wanted = F.interpolate(padding[:, None].float(), size=size, mode="nearest")[:, 0].bool()
    assert torch.equal(resize_mask(padding, size), wanted)


def test_padding_is_looked_for_where_it_is_known() -> None:
    padding = torch.zeros(2, 3, 4, dtype=torch.bool)
    assert not may_have_padding(padding)
    assert may_have_padding(padding.to("meta"))
    with FakeTensorMode() as mode:
        assert may_have_padding(mode.from_tensor(padding))
    padding[1, 2, 3] = True
    assert may_have_padding(padding)


def test_a_recorded_graph_is_right_for_padded_images_too() -> None:
    def blank(values: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        return values.masked_fill(padding, 0) if may_have_padding(padding) else values

    values, padding = torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated
        traced = torch.jit.trace(blank, (values, padding))
    compiled = torch.compile(blank, backend="eager", fullgraph=True)
    for recorded in (traced, compiled):
        recorded(values, padding)
        assert not recorded(values, ~padding).any()


def test_the_valid_part_is_width_then_height() -> None:
    padding = mask_padding(torch.tensor([[1, 3], [2, 4]]), (2, 4))
    assert valid_ratio(padding).tolist() == [[0.75, 0.5], [1.0, 1.0]]


def test_centres_are_those_of_pixels_rows_before_columns() -> None:
    centres = pixel_centres(((2, 3), (1, 1)), torch.device("cpu"))
    first, second = [[x, y] for y in (0.5, 1.5) for x in (0.5, 1.5, 2.5)], [[0.5, 0.5]]
    assert centres.tolist() == first + second


def pyramid(shapes: tuple[tuple[int, int], ...], ratios: list[list[list[float]]]) -> TokenPyramid:
    tokens = sum(height * width for height, width in shapes)
    return TokenPyramid(
        tokens=torch.zeros(len(ratios), tokens, 4),
        position=torch.zeros(len(ratios), tokens, 4),
        padding=torch.zeros(len(ratios), tokens, dtype=torch.bool),
        shapes=shapes,
        valid_ratios=torch.tensor(ratios),
    )


def test_every_token_has_the_valid_size_of_its_own_level() -> None:
    features = pyramid(((2, 4), (1, 2)), [[[0.75, 0.5], [0.5, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    assert valid_sizes(features).tolist() == [
        [[3.0, 1.0]] * 8 + [[1.0, 1.0]] * 2,
        [[4.0, 2.0]] * 8 + [[2.0, 1.0]] * 2,
    ]


def test_valid_sizes_are_whole_numbers_for_every_size_of_image() -> None:
    for width in (3, 7, 100, 333):
        sizes = torch.tensor([[1, valid] for valid in range(1, width + 1)])
        ratios = valid_ratio(mask_padding(sizes, (1, width)))
        features = pyramid(((1, width),), ratios[:, None].tolist())
        assert valid_sizes(features)[:, 0, 0].tolist() == list(range(1, width + 1))


def test_levels_are_repeated_for_their_tokens() -> None:
    values = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])]
    assert repeat_levels(values, [2, 1])[..., 0].tolist() == [[1, 1, 3], [2, 2, 4]]
    with pytest.raises(ValueError, match="argument 2 is longer"):
        repeat_levels(values, [2, 1, 1])
