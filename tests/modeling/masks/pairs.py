"""Assigned pairs with masks."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from querydet.mask_structures import ImageMasks, PairMasks
from querydet.modeling.masks.pairs import pair_masks
from querydet.structures import Assignment, MatchedPairs, PredictionSet, Targets
from tests.modeling.masks.scenes import DIM, hidden_states, objects_of
from tests.models import make_predictions, make_targets

Pairs = Sequence[Sequence[tuple[Sequence[int], Sequence[int]]]]  # of each set and image, queries and objects


def targets_with(masks: Sequence[Tensor], canvas: tuple[int, int]) -> Targets:
    """Targets of images with these masks (T, H, W)."""
    return replace(make_targets(list(map(len, masks))), masks=objects_of(masks, canvas))


def sets_of(masks: ImageMasks, images: int, queries: int, count: int, grad: bool = False) -> list[PredictionSet]:
    """Prediction sets of consecutive layers, with hidden states of their own."""
    return [
        replace(
            make_predictions(images, queries, seed=layer),
            layer=layer,
            hidden=hidden_states(images, queries, seed=layer).requires_grad_(grad),
            masks=masks,
        )
        for layer in range(count)
    ]


def assign(pairs: Pairs) -> list[tuple[Assignment, ...]]:
    return [
        tuple(Assignment(torch.tensor(q, dtype=torch.int64), torch.tensor(o, dtype=torch.int64)) for q, o in images)
        for images in pairs
    ]


def collect(sets: Sequence[PredictionSet], pairs: Pairs, targets: Targets) -> PairMasks:
    return pair_masks(sets, assign(pairs), targets)


def matched_with(masks: PairMasks | None) -> MatchedPairs:
    """Matched pairs of which a loss of masks reads the masks only."""
    none = torch.zeros(0, dtype=torch.int64)
    return MatchedPairs(none, none, none, none, torch.zeros(0, 4), (0,), masks=masks)


class Given(torch.nn.Module):
    """Masks that are given: the first number of a hidden state is the number of its mask."""

    def __init__(self, maps: Tensor, canvas: tuple[int, int]) -> None:
        super().__init__()
        self.maps, self.canvas = maps, canvas

    def of_batch(self, hidden: Tensor) -> Tensor:
        return self.maps[hidden[..., 0].long()]

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        return self.of_batch(hidden)

    def at_points(self, image: int, hidden: Tensor, points: Tensor) -> Tensor:
        raise NotImplementedError

    def resized(self, size: tuple[int, int]) -> "Given":
        resized = torch.nn.functional.interpolate(self.maps[None], size, mode="bilinear", align_corners=False)[0]
        return Given(resized, self.canvas)


def numbered(queries: int) -> Tensor:
    """Hidden states (1, queries, DIM) for `Given`."""
    return torch.arange(queries)[None, :, None].expand(1, -1, DIM).float()
