"""The masks of a batch's objects, and annotations that have none or wrong ones."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

from querydet.modeling.masks.targets import bitmaps_of, object_masks
from tests.modeling.masks.scenes import CPU, random_masks

SIZES = [(4, 6), (5, 3), (2, 2)]


def annotated(masks: object, size: tuple[int, int]) -> Instances:
    return Instances(size, gt_masks=masks)


def inputs_of(masks: list[torch.Tensor], **more: object) -> list[dict]:
    return [{"instances": annotated(BitMasks(each), each.shape[1:]), **more} for each in masks]


def test_masks_stand_one_after_the_other_in_their_own_sizes() -> None:
    masks = random_masks([2, 0, 3], SIZES)
    objects = object_masks(inputs_of(masks, seed=3), ["a", "b", "c"], (5, 6), CPU)
    assert objects.canvas == (5, 6)
    assert objects.sizes.tolist() == [[4, 6]] * 2 + [[2, 2]] * 3
    assert objects.starts.tolist() == [0, 24, 48, 52, 56]
    assert len(objects.pixels) == 2 * 24 + 3 * 4
    for index, mask in enumerate([*masks[0], *masks[2]]):
        start = int(objects.starts[index])
        assert torch.equal(objects.pixels[start : start + mask.numel()].view(mask.shape), mask)
    assert torch.equal(objects.draws("extra", "a", 0, 1, 4), objects.draws("extra", "a", 2, 1, 4))


def test_no_objects() -> None:
    objects = object_masks(inputs_of(random_masks([0, 0], SIZES[:2])), ["a", "b"], (5, 6), CPU)
    assert objects.pixels.shape == (0,)
    assert objects.pixels.dtype is torch.bool
    assert (objects.starts.shape, objects.sizes.shape) == ((0,), (0, 2))


def test_polygons_are_filled_and_tensors_taken() -> None:
    square = [np.array([1.0, 1, 4, 1, 4, 3, 1, 3])]
    found = bitmaps_of(annotated(PolygonMasks([square]), (4, 6)), "a")
    wanted = torch.zeros(1, 4, 6, dtype=torch.bool)
    wanted[0, 1:3, 1:4] = True
    assert torch.equal(found, wanted)
    assert torch.equal(bitmaps_of(annotated(wanted.to(torch.uint8), (4, 6)), "a"), wanted)
    assert bitmaps_of(annotated(PolygonMasks([]), (4, 6)), "a").shape == (0, 4, 6)


def test_annotations_without_masks() -> None:
    instances = Instances((4, 6), gt_boxes=Boxes(torch.zeros(0, 4)))
    with pytest.raises(ValueError, match=r"a\.jpg: the model predicts masks.*dataset\.masks=True.*model\.masks=null"):
        bitmaps_of(instances, "a.jpg")


def test_masks_of_another_size_than_the_image() -> None:
    with pytest.raises(ValueError, match=r"a\.jpg: the masks have 5x6 pixels .* image has 4x6: transform both"):
        bitmaps_of(annotated(BitMasks(torch.zeros(1, 5, 6, dtype=torch.bool)), (4, 6)), "a.jpg")


@pytest.mark.parametrize("masks", [torch.zeros(2, 4), ["rle", "rle"], [{"counts": "", "size": [4, 6]}]])
def test_masks_of_another_type(masks: object) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg: gt_masks must be Detectron2's BitMasks or PolygonMasks, .* found"):
        bitmaps_of(annotated(masks, (4, 6)), "a.jpg")
