"""Masks of objects, cropped: every pixel where it was, from every form that masks have."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

from querydet.utils.run_lengths import encode_masks
from querydet.visualization.cropped_masks import GT_RUN_LENGTHS, crop, cropped_masks, outline

SIZE = (30, 40)


def random_masks(count=6, seed=0):
    """Blobs of all sizes, the last one empty."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, *SIZE, dtype=torch.bool)
    for mask in masks[:-1]:
        y, x = (int(torch.randint(side - 1, (1,), generator=generator)) for side in SIZE)
        part = mask[y : y + 12, x : x + 15]
        part |= torch.rand(part.shape, generator=generator) < 0.5
        mask[y, x] = True
    return masks


def restored(masks):
    """The bitmaps of the whole image that were cropped."""
    result = np.zeros((len(masks), *SIZE), dtype=bool)
    for bitmap, mask in zip(result, masks, strict=True):
        if mask is not None:
            height, width = mask.bitmap.shape
            bitmap[mask.y : mask.y + height, mask.x : mask.x + width] = mask.bitmap
    return result


@pytest.mark.parametrize("kind", ["pred_masks", "pred_masks_rle", "gt_masks", GT_RUN_LENGTHS])
@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_stays_where_it_was(kind, seed):
    masks = random_masks(seed=seed)
    value = masks if kind == "pred_masks" else BitMasks(masks) if kind == "gt_masks" else encode_masks(masks)
    cropped = cropped_masks(Instances(SIZE, **{kind: value}))
    assert np.array_equal(restored(cropped), masks.numpy())
    assert cropped[-1] is None  # the empty one
    for mask in cropped[:-1]:
        border = [mask.bitmap[0], mask.bitmap[-1], mask.bitmap[:, 0], mask.bitmap[:, -1]]
        assert all(side.any() for side in border)


def test_polygons_of_a_foreign_mapper_are_rasterised():
    square = np.array([5.0, 10, 15, 10, 15, 20, 5, 20])
    (mask,) = cropped_masks(Instances(SIZE, gt_masks=PolygonMasks([[square]])))
    assert (mask.x, mask.y, mask.bitmap.shape, mask.bitmap.all()) == (5, 10, (10, 10), True)


def test_objects_without_masks_have_none():
    assert cropped_masks(Instances(SIZE, pred_boxes=Boxes(torch.zeros(2, 4)))) == [None, None]
    assert cropped_masks(Instances(SIZE, pred_masks=torch.zeros(0, *SIZE, dtype=torch.bool))) == []
    some = encode_masks(random_masks(2))[:1]
    assert [mask is None for mask in cropped_masks(Instances(SIZE, **{GT_RUN_LENGTHS: [None, *some]}))] == [True, False]


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="pred_masks"):
        cropped_masks(Instances((31, 40), pred_masks=random_masks()))


def test_a_crop_does_not_keep_the_whole_mask_in_memory():
    mask = np.zeros(SIZE, dtype=bool)
    mask[3, 4] = True
    assert crop(mask).bitmap.base is None


@pytest.mark.parametrize("thickness", [1, 2])
def test_an_outline_is_near_what_is_outside_and_within_the_mask(thickness):
    mask = np.ones((9, 11), dtype=bool)
    mask[4, 5] = False  # a hole has an outline, too
    found = outline(mask, thickness)
    padded = np.pad(mask, thickness)
    for y, x in np.ndindex(mask.shape):
        near = padded[y : y + 2 * thickness + 1, x : x + 2 * thickness + 1]
        assert found[y, x] == (mask[y, x] and not near.all())
