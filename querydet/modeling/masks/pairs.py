"""The masks of assigned pairs, and the points at which their losses compare them.

Only masks of assigned queries are computed, a few at a time, and again in the backward pass (activation
checkpointing): the memory of a step does not grow with the number of pairs times that of pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from querydet.mask_structures import ObjectMasks, PairMasks
from querydet.modeling.masks.image_masks import resize_maps
from querydet.modeling.masks.points import PointSampling, most_uncertain, sample_maps, sample_objects
from querydet.structures import Assignment, PredictionSet, Targets
from querydet.utils.transfer import send

PAIRS_AT_ONCE = 32  # whose masks are computed together


class PointSamples(NamedTuple):
    """The predicted and the true masks of N pairs at P points each."""

    logits: Tensor  # (N, P) float32
    targets: Tensor  # (N, P) float32 in [0, 1]


def pair_masks(
    sets: Sequence[PredictionSet], assigned: Sequence[tuple[Assignment, ...]], targets: Targets
) -> PairMasks:
    """Collect the masks of the assigned pairs of several sets.

    Args:
        sets: at least one set, with masks.
        assigned: for each set, the assignment of each image.
        targets: the objects of the images, with masks.

    Raises:
        ValueError: the objects have no masks.
    """
    predicted, objects = sets[0].masks, targets.masks
    assert predicted is not None
    if objects is None:
        raise ValueError("predictions have masks, but the objects have none: set dataloader.train.dataset.masks=True")
    hidden, index = [], []
    for image, start in enumerate(accumulate(targets.counts[:-1], initial=0)):
        queries = [images[image].queries for images in assigned]
        rows = [_hidden(prediction_set)[image, own] for prediction_set, own in zip(sets, queries, strict=True)]
        hidden.append(torch.cat(rows))
        index.append(torch.cat([images[image].objects for images in assigned]) + start)
    counts = [[len(assignment.queries) for assignment in images] for images in assigned]
    return PairMasks(
        predicted=predicted,
        objects=objects,
        hidden=tuple(hidden),
        object=tuple(index),
        sets=tuple(
            tuple(
                (prediction_set.describe(), of_images[image])
                for prediction_set, of_images in zip(sets, counts, strict=True)
            )
            for image in range(len(targets.counts))
        ),
        order=send(image_by_image(counts), sets[0].logits.device),
    )


def _hidden(prediction_set: PredictionSet) -> Tensor:
    assert prediction_set.hidden is not None
    return prediction_set.hidden


def image_by_image(counts: Sequence[Sequence[int]]) -> Tensor:
    """Return the order (N,) int64 of pairs image by image, from their order set by set.

    Args:
        counts: for each set, the number of pairs of each image.
    """
    numbers = torch.tensor(counts).view(len(counts), -1)  # (sets, images)
    starts = (numbers.flatten().cumsum(0) - numbers.flatten()).view_as(numbers)
    places = [
        torch.arange(start, start + count)
        for starts_of_image, counts_of_image in zip(starts.T.tolist(), numbers.T.tolist(), strict=True)
        for start, count in zip(starts_of_image, counts_of_image, strict=True)
    ]
    return torch.cat(places)


def sample_pairs(pairs: PairMasks, sampling: PointSampling) -> PointSamples:
    """Compare the masks of pairs at points; loss terms with the same sampling share the points and the result.

    The result is in the order of the pairs image by image, see `PairMasks`.
    """
    if sampling not in pairs.memo:
        blocks = [_sample_image(pairs, image, sampling) for image in range(len(pairs.hidden))]
        pairs.memo[sampling] = PointSamples(*map(torch.cat, zip(*blocks, strict=True)))
    samples: PointSamples = pairs.memo[sampling]
    return samples


def _sample_image(pairs: PairMasks, image: int, sampling: PointSampling) -> PointSamples:
    hidden, index = pairs.hidden[image], pairs.object[image]
    logits, targets = [], []
    for rows, candidates, extra in _draw_blocks(pairs, image, sampling):
        with torch.no_grad():
            masks = pairs.predicted.of_image(image, hidden[rows])
            uncertain = most_uncertain(sample_maps(masks, candidates), candidates, sampling.num_uncertain)
            points = torch.cat([uncertain, extra], 1)
        targets.append(sample_objects(pairs.objects, index[rows], points))
        logits.append(recomputed(_masks_at, pairs, image, hidden[rows], points))
    return PointSamples(torch.cat(logits), torch.cat(targets))


def _draw_blocks(pairs: PairMasks, image: int, sampling: PointSampling) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield rows of the pairs of an image, at most `PAIRS_AT_ONCE`, with their candidates and their random points.

    The points of a few sets exist at a time: those of all pairs would take more memory than their masks.
    """
    draws, start = pairs.objects.draws, 0
    for sets in _neighbours(pairs.sets[image]):
        candidates, extra = (
            torch.cat([draws(purpose, predictions, image, rows, count) for predictions, rows in sets])
            for purpose, count in (("candidates", sampling.num_candidates), ("extra", sampling.num_random))
        )
        for rows in _blocks(len(candidates)):
            yield slice(start + rows.start, start + min(rows.stop, len(candidates))), candidates[rows], extra[rows]
        start += len(candidates)


def _neighbours(sets: Sequence[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """Split the sets of an image into runs of at least `PAIRS_AT_ONCE` pairs, but for the last one."""
    run: list[tuple[str, int]] = []
    for each in sets:
        run.append(each)
        if sum(rows for _, rows in run) >= PAIRS_AT_ONCE:
            yield run
            run = []
    if run:
        yield run


def _masks_at(pairs: PairMasks, image: int, hidden: Tensor, points: Tensor) -> Tensor:
    return sample_maps(pairs.predicted.of_image(image, hidden), points)


def _blocks(total: int, at_once: int = PAIRS_AT_ONCE) -> list[slice]:
    """Return rows of at most so many pairs. Without pairs there is an empty block: every weight has a gradient."""
    return [slice(start, start + at_once) for start in range(0, max(total, 1), at_once)]


def recomputed(function: Callable[..., Tensor], *inputs: object) -> Tensor:
    """Call a function whose activations are computed again in the backward pass."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False)
    return result


Compare = Callable[[Tensor, Tensor], Tensor]


def compare_whole(pairs: PairMasks, compare: Compare, at_once: int) -> Tensor:
    """Compare whole masks of pairs, resized to the padded image, with those of the objects, which padding follows.

    Loss terms share the masks in the resolution of the head, which are small; those in that of the image are made for
    each term, and again in the backward pass.

    Args:
        pairs: the pairs.
        compare: predicted masks (n, H, W) and true ones (n, H, W) bool to values (n,).
        at_once: number of pairs whose masks are compared together.

    Returns:
        (N,), in the order of the pairs of the loss terms.
    """
    values = []
    for image, index in enumerate(pairs.object):
        masks = _masks_of_image(pairs, image)
        for rows in _blocks(len(index), at_once):
            values.append(recomputed(_compare_block, pairs.objects, compare, masks[rows], index[rows]))
    return pairs.restore(values)


def _masks_of_image(pairs: PairMasks, image: int) -> Tensor:
    """Return the masks (n, h, w) of all pairs of an image."""
    key, hidden = ("masks", image), pairs.hidden[image]
    if key not in pairs.memo:
        made = [recomputed(pairs.predicted.of_image, image, hidden[rows]) for rows in _blocks(len(hidden))]
        pairs.memo[key] = torch.cat(made)
    masks: Tensor = pairs.memo[key]
    return masks


def _compare_block(objects: ObjectMasks, compare: Compare, masks: Tensor, index: Tensor) -> Tensor:
    resized = resize_maps(masks[:, None], objects.canvas)[:, 0]
    return compare(resized, whole_objects(objects, index))


def whole_objects(objects: ObjectMasks, index: Tensor) -> Tensor:
    """Return the masks (n, H, W) bool of n objects, with the padding of the batch."""
    height, width = objects.canvas
    rows, columns = (torch.arange(length, device=index.device) for length in (height, width))
    if not len(index):
        return objects.pixels.new_zeros(0, height, width)
    own_height, own_width = objects.sizes[index, :, None, None].unbind(1)
    inside = (rows[:, None] < own_height) & (columns < own_width)
    place = objects.starts[index, None, None] + rows[:, None] * own_width + columns
    return objects.pixels[torch.where(inside, place, 0)] & inside
