"""Masks at points: the released functions' numbers, PyTorch's sampling as the oracle, borders, and seeds."""

import pytest
import torch
import torch.nn.functional as F

from querydet.modeling.masks.points import (
    PointSampling,
    SeededDraws,
    check_num_points,
    most_uncertain,
    pixels_at,
    sample_channels,
    sample_maps,
    sample_objects,
)
from tests.modeling.masks.scenes import CPU, objects_of, padded, random_masks

# outputs of the official `point_sample`
POINTS = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [1, 1], [0.5, 0], [0, 0.6]])
VALUES = torch.tensor([0, 1, 1.5, 0.75, 0.25, 0.7])
SIZES = [
    [(7, 9)],
    [(7, 9), (5, 11)],
    [(1, 1), (13, 2), (4, 4)],
]


def test_numbers_of_the_released_function() -> None:
    maps = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    torch.testing.assert_close(sample_maps(maps[None], POINTS[None])[0], VALUES)
    torch.testing.assert_close(sample_channels(maps[None], POINTS)[0], VALUES)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_objects_are_sampled_as_floats_of_the_padded_size_would_be(sizes: list[tuple[int, int]], seed: int) -> None:
    canvas = (max(size[0] for size in sizes) + seed, max(size[1] for size in sizes) + 2 * seed)
    masks = random_masks([3, 0, 2][: len(sizes)], sizes, seed)
    objects = objects_of(masks, canvas)
    total = len(objects.starts)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(total, (9,), generator=generator)
    points = torch.rand(9, 50, 2, generator=generator)
    wanted = F.grid_sample(padded(masks, canvas)[index, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]
    torch.testing.assert_close(sample_objects(objects, index, points), wanted, atol=2e-5, rtol=0)
    shared = sample_objects(objects, index, points[:1])
    torch.testing.assert_close(shared, sample_objects(objects, index, points[:1].expand(9, -1, -1)))


def test_points_on_and_beside_the_border() -> None:
    masks = [torch.ones(1, 3, 5, dtype=torch.bool)]
    points = torch.tensor([[[0, 0], [1, 1], [0.5, 0], [1 - 1e-7, 0.5], [0.5, 0.5], [-0.2, 0.5], [0.5, 1.4]]])
    found = sample_objects(objects_of(masks, (3, 5)), torch.tensor([0]), points)
    wanted = F.grid_sample(padded(masks, (3, 5))[:, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0, :3], torch.tensor([0.25, 0.25, 0.5]))


def test_what_is_outside_of_a_mask_is_background_and_reads_no_other_mask() -> None:
    masks = [torch.zeros(1, 2, 3, dtype=torch.bool), torch.ones(1, 4, 4, dtype=torch.bool)]
    objects = objects_of(masks, (4, 4))
    rows, columns = torch.meshgrid(torch.arange(-2, 7), torch.arange(-2, 7), indexing="ij")
    found = pixels_at(objects, torch.tensor([0, 1]), rows.reshape(1, -1), columns.reshape(1, -1)).view(2, 9, 9)
    assert not found[0].any()
    assert found[1].sum() == 16
    assert found[1, 2:6, 2:6].all()


def test_no_objects() -> None:
    objects = objects_of(random_masks([0, 0], [(4, 4), (3, 5)]), (4, 5))
    none = torch.zeros(0, dtype=torch.int64)
    assert sample_objects(objects, none, torch.rand(1, 6, 2)).shape == (0, 6)
    assert sample_objects(objects, none, torch.rand(0, 6, 2)).shape == (0, 6)


def test_the_type_of_the_points_is_that_of_the_values() -> None:
    objects = objects_of(random_masks([2], [(4, 4)]), (4, 4))
    points = torch.rand(1, 6, 2, dtype=torch.float64)
    assert sample_objects(objects, torch.tensor([0, 1]), points).dtype is torch.float64


def test_the_most_uncertain_points_of_the_released_function() -> None:
    """Outputs of the official `get_uncertain_point_coords_with_randomness`."""
    maps = torch.tensor([[3, 0.2, -0.1, -4], [2, 1, -0.5, 0.05]])[None]
    torch.manual_seed(0)
    candidates, extra = torch.rand(1, 12, 2), torch.rand(1, 1, 2)
    found = torch.cat([most_uncertain(sample_maps(maps, candidates), candidates, 3), extra], 1)
    wanted = [[0.490093, 0.896445], [0.681609, 0.915194], [0.496257, 0.768222], [0.419408, 0.552907]]
    torch.testing.assert_close(found[0], torch.tensor(wanted), atol=1e-6, rtol=0)


def test_each_mask_has_uncertain_points_of_its_own() -> None:
    logits = torch.tensor([[3, 0.2, -0.1, -4], [2, 1, -0.5, 0.05]])
    candidates = torch.arange(16.0).view(2, 4, 2)
    found = most_uncertain(logits, candidates, 2)
    assert torch.equal(found[0], candidates[0, [2, 1]])
    assert torch.equal(found[1], candidates[1, [3, 2]])


def test_numbers_of_points_of_mask2former() -> None:
    sampling = PointSampling()
    assert (sampling.num_candidates, sampling.num_uncertain, sampling.num_random) == (37632, 9408, 3136)
    assert PointSampling(4).num_uncertain + PointSampling(4).num_random == 4
    assert PointSampling(5, importance=0.0).num_uncertain == 0
    assert PointSampling(5, importance=1.0).num_random == 0


def test_impossible_numbers_of_points() -> None:
    for number in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"whole number and at least 1, found {number}"):
            check_num_points(number)
    with pytest.raises(ValueError, match=r"oversampling=0\.5"):
        PointSampling(4, oversampling=0.5)
    with pytest.raises(ValueError, match=r"importance=1\.5"):
        PointSampling(4, importance=1.5)


def test_draws_depend_on_the_seed_the_set_and_the_purpose_alone() -> None:
    draws = SeededDraws([5, 6, 5], CPU)
    first = draws("matching", "layer 0", 0, 2, 3)
    torch.rand(7)  # the default generator has no part
    assert torch.equal(first, draws("matching", "layer 0", 0, 2, 3))
    assert torch.equal(first, SeededDraws([5], CPU)("matching", "layer 0", 0, 2, 3))
    assert torch.equal(first, draws("matching", "layer 0", 2, 2, 3))
    assert first.min() >= 0
    assert first.max() < 1


def test_no_two_draws_are_the_same() -> None:
    """A CPU's generator reads the lower 32 bits of its seed only."""
    draws = SeededDraws([5, 6, 2**31 + 5, 2**32 + 5, 2**62], CPU)
    drawn = {
        tuple(draws(purpose, f"layer {layer}", image, 2, 3).flatten().tolist())
        for purpose in ("matching", "candidates", "extra")
        for layer in range(8)
        for image in range(5)
    }
    assert len(drawn) == 3 * 8 * 5


def test_the_points_of_a_pair_do_not_depend_on_the_pairs_after_it() -> None:
    draws = SeededDraws([5], CPU)
    assert torch.equal(draws("extra", "layer 0", 0, 5, 3)[:2], draws("extra", "layer 0", 0, 2, 3))


def test_draws_without_a_seed_come_from_the_default_generator() -> None:
    draws = SeededDraws([None], CPU)
    torch.manual_seed(3)
    first = draws("matching", "layer 0", 0, 2, 3)
    assert not torch.equal(first, draws("matching", "layer 0", 0, 2, 3))
    torch.manual_seed(3)
    assert torch.equal(first, draws("matching", "layer 0", 0, 2, 3))


def test_draws_of_every_type_are_the_same_points() -> None:
    plain, double = (SeededDraws([5], CPU, dtype)("extra", "a", 0, 2, 3) for dtype in (torch.float32, torch.float64))
    assert double.dtype is torch.float64
    assert torch.equal(double.float(), plain)


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1, 2**40 + 7])
def test_any_seed_that_an_image_may_have(seed: int) -> None:
    assert SeededDraws([seed], CPU)("extra", "a", 0, 1, 2).shape == (1, 2, 2)
