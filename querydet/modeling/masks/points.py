"""Points at which masks are compared, in place of all pixels (PointRend, arXiv 1912.08193; Mask2Former, section 3.3).

Points are (x, y) in [0, 1] of the padded image. Values between pixels are interpolated bilinearly, and what is outside
is 0: in the outer half pixel predicted logits fade to 0, and true masks to background (released code of Mask2Former).
Letters are those of `querydet.structures`; h and w are the size of predicted masks.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.mask_structures import ObjectMasks
from querydet.utils.transfer import send


def sample_maps(maps: Tensor, points: Tensor) -> Tensor:
    """Return the values (n, P) of maps (n, h, w), each at its own points (n, P, 2)."""
    return F.grid_sample(maps[:, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]


def sample_channels(maps: Tensor, points: Tensor) -> Tensor:
    """Return the values (C, P) of the channels of one map (C, h, w) at P points (P, 2)."""
    return F.grid_sample(maps[None], 2 * points[None, None] - 1, align_corners=False)[0, :, 0]


@torch.no_grad()
def sample_objects(objects: ObjectMasks, index: Tensor, points: Tensor) -> Tensor:
    """Return the values (n, P) of the masks of n objects, each at its own points.

    Nothing is converted or padded beforehand: only the pixels around the points are read.

    Args:
        objects: the masks of the batch.
        index: (n,) int64, objects of the batch.
        points: (n, P, 2), or (1, P, 2) for points that all of them share.
    """
    height, width = objects.canvas
    x, y = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    right_weight, bottom_weight = x - left, y - top
    corners = (
        (0, 0, (1 - right_weight) * (1 - bottom_weight)),
        (1, 0, right_weight * (1 - bottom_weight)),
        (0, 1, (1 - right_weight) * bottom_weight),
        (1, 1, right_weight * bottom_weight),
    )
    column, row = left.long(), top.long()
    values = points.new_zeros(len(index), points.shape[1])
    for across, down, weight in corners:
        values += weight * pixels_at(objects, index, row + down, column + across)
    return values


def pixels_at(objects: ObjectMasks, index: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return pixels (n, P) bool of the masks of n objects; False outside of a mask.

    Args:
        objects: the masks of the batch.
        index: (n,) int64, objects of the batch.
        row: (n or 1, P) int64.
        column: (n or 1, P) int64.
    """
    if not len(index):
        return objects.pixels.new_zeros(0, row.shape[1])
    height, width = objects.sizes[index, :, None].unbind(1)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = objects.starts[index, None] + row * width + column
    return objects.pixels[torch.where(inside, place, 0)] & inside


@dataclass(frozen=True, slots=True)
class PointSampling:
    """How the points of a loss are chosen for each pair (PointRend, section 3.1).

    Args:
        num_points: P, the number of points; 112 * 112 in Mask2Former.
        oversampling: number of random candidates for each point.
        importance: fraction of the points that are the most uncertain candidates, those with logits nearest to 0; the
            others are random.

    Raises:
        ValueError: there is no point, less than one candidate for each, or a fraction outside of [0, 1].
    """

    num_points: int = 12544
    oversampling: float = 3.0
    importance: float = 0.75

    def __post_init__(self) -> None:
        check_num_points(self.num_points)
        if self.oversampling < 1 or not 0 <= self.importance <= 1:
            raise ValueError(
                "point sampling needs at least one candidate for each point and a fraction in [0, 1]; found "
                f"oversampling={self.oversampling} and importance={self.importance}"
            )

    @property
    def num_candidates(self) -> int:
        """Number of candidates of a pair."""
        return int(self.num_points * self.oversampling)

    @property
    def num_uncertain(self) -> int:
        """Number of points that are the most uncertain candidates."""
        return int(self.importance * self.num_points)

    @property
    def num_random(self) -> int:
        """Number of points that are drawn without looking at the mask."""
        return self.num_points - self.num_uncertain


def check_num_points(num_points: int) -> None:
    """Raise ValueError unless the number of points is a whole number, at least one."""
    if not isinstance(num_points, int) or num_points < 1:
        raise ValueError(f"num_points must be a whole number and at least 1, found {num_points!r}")


def most_uncertain(logits: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Return those of each mask's points whose logits are nearest to 0.

    Args:
        logits: (n, N), values of the masks at the candidates.
        candidates: (n, N, 2).
        count: number of points to return.

    Returns:
        (n, count, 2).
    """
    index = (-logits.abs()).topk(count, dim=1).indices
    return candidates.gather(1, index[..., None].expand(-1, -1, 2))


class SeededDraws:
    """Random points that depend on the seed of the image, the prediction set and the purpose, and on nothing else.

    Every device draws its own: unlike the noise of denoising queries, they are too many to be sent to a GPU.

    Args:
        seeds: of each image; None: the default generator.
        device: device of the points.
        dtype: type of the points, that of the masks; the same points are drawn for every type.
    """

    def __init__(self, seeds: Sequence[int | None], device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.seeds, self.device, self.dtype = tuple(seeds), device, dtype

    def __call__(self, purpose: str, predictions: str, image: int, rows: int, count: int) -> Tensor:
        """Return points (rows, count, 2) in [0, 1); see `querydet.mask_structures.PointDraws`."""
        generator, seed = None, self.seeds[image]
        drawing = torch.device("cpu") if self.device.type == "meta" else self.device  # which has no random numbers
        if seed is not None:
            # a checksum, because `hash` differs between processes; generators of a CPU read 32 bits of a seed
            own_seed = zlib.crc32(f"{purpose} of {predictions} {seed}".encode())
            generator = torch.Generator(drawing).manual_seed(own_seed)
        points = torch.rand(rows, count, 2, device=drawing, generator=generator).to(self.dtype)
        return send(points, self.device)
