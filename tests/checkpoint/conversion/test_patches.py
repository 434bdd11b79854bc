"""Positions and patches keep what they stand for when they are resized."""

import torch

from querydet.checkpoint.conversion.patches import fit_patches, fit_positions


def test_a_token_of_classes_stays_in_front_or_goes() -> None:
    table = torch.randn(1, 17, 6)
    assert torch.equal(fit_positions(table, (1, 17, 6)), table)
    assert torch.equal(fit_positions(table, (1, 16, 6)), table[:, 1:])
    larger = fit_positions(table, (1, 26, 6))
    assert torch.equal(larger[:, 0], table[:, 0])
    assert not fit_positions(table[:, 1:], (1, 26, 6))[:, 0].any()


def test_positions_are_interpolated_in_the_plane() -> None:
    """A slope stays a slope, inside of the borders."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    table = torch.stack([rows, columns], dim=-1).view(1, 256, 2)
    resized = fit_positions(table, (1, 64, 2)).view(8, 8, 2)
    wanted = 2 * torch.arange(8.0) + 0.5
    torch.testing.assert_close(resized[1:-1, 4, 0], wanted[1:-1])
    torch.testing.assert_close(resized[4, 1:-1, 1], wanted[1:-1])


def test_what_is_no_square_or_of_another_width_is_left_alone() -> None:
    for shape in ((1, 18, 6), (1, 17, 5), (17, 6)):
        table = torch.randn(1, 17, 6)
        assert fit_positions(table, shape) is table
    odd = torch.randn(1, 19, 6)
    assert fit_positions(odd, (1, 17, 6)) is odd


def test_filters_of_14_pixels_become_those_of_16_and_others_stay() -> None:
    assert fit_patches(torch.ones(4, 3, 14, 14), (4, 3, 16, 16)).allclose(torch.ones(4, 3, 16, 16))
    for side in (8, 32):
        filters = torch.ones(4, 3, side, side)
        assert fit_patches(filters, (4, 3, 16, 16)) is filters
    wide = torch.ones(5, 3, 14, 14)
    assert fit_patches(wide, (4, 3, 16, 16)) is wide
