"""Tests of the masks of detections."""

import pytest
import torch
from detectron2.structures import Instances

from querydet.utils.instance_masks import has_masks, masks_of, run_lengths_of, select, without_masks
from querydet.utils.run_lengths import encode_masks

SIZE = (9, 7)  # height, width


def random_masks(number: int) -> torch.Tensor:
    return torch.rand(number, *SIZE, generator=torch.Generator().manual_seed(number)) < 0.4


@pytest.mark.parametrize("number", [0, 1, 20])
def test_both_ways_give_the_same_masks(number: int) -> None:
    masks = random_masks(number)
    for instances in (Instances(SIZE, pred_masks=masks), Instances(SIZE, pred_masks_rle=encode_masks(masks))):
        assert has_masks(instances)
        assert torch.equal(masks_of(instances), masks)
        assert run_lengths_of(instances) == encode_masks(masks)


@pytest.mark.parametrize("function", [masks_of, run_lengths_of])
def test_detections_without_masks_are_told(function: object) -> None:
    instances = Instances(SIZE, scores=torch.zeros(2))
    assert not has_masks(instances)
    with pytest.raises(KeyError, match="no masks: neither pred_masks nor pred_masks_rle"):
        function(instances)  # type: ignore[operator]


@pytest.mark.parametrize("function", [masks_of, run_lengths_of])
@pytest.mark.parametrize("masks", [torch.zeros(2, 9, 8, dtype=torch.bool), torch.zeros(2, 9, 7), torch.zeros(2, 63)])
def test_bitmaps_have_to_be_bool_and_of_the_images_size(function: object, masks: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"bool of shape \(n, 9, 7\)"):
        function(Instances(SIZE, pred_masks=masks))  # type: ignore[operator]


@pytest.mark.parametrize("function", [masks_of, run_lengths_of])
def test_a_bad_mask_of_run_lengths_is_named(function: object) -> None:
    masks = encode_masks(random_masks(2))
    bad = {"size": list(SIZE), "counts": "zz"}
    with pytest.raises(ValueError, match="pred_masks_rle: mask 2: its counts"):
        function(Instances(SIZE, pred_masks_rle=[*masks, bad]))  # type: ignore[operator]


@pytest.mark.parametrize("chosen", [torch.tensor([True, False, True]), torch.tensor([2, 0]), torch.zeros(3) > 0])
def test_detections_are_chosen_alike_with_both(chosen: torch.Tensor) -> None:
    masks, scores = random_masks(3), torch.rand(3)
    expected = masks[chosen]
    for fields in ({"pred_masks": masks}, {"pred_masks_rle": encode_masks(masks)}):
        instances = Instances(SIZE, scores=scores, **fields)
        selected = select(instances, chosen)
        assert torch.equal(masks_of(selected), expected)
        assert torch.equal(selected.scores, scores[chosen])
        assert len(instances) == 3
    assert "pred_masks" not in select(Instances(SIZE, scores=scores), chosen).get_fields()


def test_detections_without_their_masks() -> None:
    masks = random_masks(2)
    instances = Instances(SIZE, scores=torch.ones(2), pred_masks=masks, pred_masks_rle=encode_masks(masks))
    assert list(without_masks(instances).get_fields()) == ["scores"]
    assert has_masks(instances)
