"""Masks of detections in the pixels of their image."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances

from querydet.modeling.masks.paste import PasteMasks, boxes_around
from querydet.utils.run_lengths import decode_masks
from tests.modeling.masks.pairs import Given, numbered

CANVAS = (16, 24)


def detections(queries: list[int], size: tuple[int, int], scores: list[float] | None = None) -> Instances:
    count = len(queries)
    return Instances(
        size,
        pred_boxes=Boxes(torch.arange(4.0 * count).view(count, 4)),
        scores=torch.tensor(scores or [0.95**row for row in range(count)]),
        pred_classes=torch.arange(count),
        query_indices=torch.tensor(queries, dtype=torch.int64),
    )


def maps(count: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.randn(1, count, 2, 3, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (4, 6), mode="bilinear", align_corners=False)[0]


def paste(found: Instances, logits: torch.Tensor, image_size: tuple[int, int] = CANVAS, **options: object) -> Instances:
    made = Given(logits, CANVAS)
    return PasteMasks(**options)(found, made, 0, numbered(len(logits))[0], image_size)


def test_masks_follow_their_queries_and_a_query_with_two_classes_gives_one_mask_twice() -> None:
    logits = maps(5)
    found = paste(detections([3, 0, 3], CANVAS), logits)
    whole = F.interpolate(logits[None], CANVAS, mode="bilinear", align_corners=False)[0] > 0
    assert torch.equal(found.pred_masks, whole[[3, 0, 3]])
    assert found.pred_masks.dtype is torch.bool


def test_each_query_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = Given(maps(40), CANVAS), []
    monkeypatch.setattr(
        made, "of_image", lambda image, hidden: asked.extend(hidden[:, 0].tolist()) or made.of_batch(hidden)
    )
    queries = [*range(39, -1, -1), 7, 7, 0]
    PasteMasks()(detections(queries, CANVAS), made, 0, numbered(40)[0], CANVAS)
    assert asked == list(range(40))


@pytest.mark.parametrize("size", [(10, 20), (33, 57), (1, 1)])
def test_padding_is_cut_off_before_the_last_resize(size: tuple[int, int]) -> None:
    logits, image_size = maps(3), (12, 17)
    whole = F.interpolate(logits[None], CANVAS, mode="bilinear", align_corners=False)[..., :12, :17]
    bilinear = F.interpolate(whole, size, mode="bilinear", align_corners=False)[0] > 0
    nearest = F.interpolate((whole > 0).float(), size, mode="nearest")[0] > 0
    found = paste(detections([2, 1], size), logits, image_size)
    assert torch.equal(found.pred_masks, bilinear[[2, 1]])
    assert torch.equal(
        paste(detections([2, 1], size), logits, image_size, resize="nearest").pred_masks, nearest[[2, 1]]
    )


def test_numbers_of_the_released_scores() -> None:
    """Instances of the official inference, from masks of the size of the image; softmax scores are given."""
    logits = torch.tensor([[[2, -1], [0.5, -3]], [[-1, -1], [-1, -1.0]]])
    probability = torch.tensor([[1, 0, -1, 0.5], [-2, 1, 0, 2]]).softmax(1)
    scores, index = probability[:, :3].flatten().sort(descending=True)
    given = detections((index // 3).tolist()[:4], (2, 2), scores.tolist()[:4])
    found = PasteMasks(rescore=True)(given, Given(logits, (2, 2)), 0, numbered(2)[0], (2, 2))
    own = probability[0, 0].item() * logits[0, :, 0].sigmoid().mean().item()
    assert found.scores[0].item() == pytest.approx(own, abs=1e-6) == pytest.approx(0.356265, abs=1e-6)
    assert found.scores[1].item() == pytest.approx(0.131062, abs=1e-6)
    assert found.scores[2:].tolist() == [0, 0]


def test_rescored_detections_are_sorted_again_with_all_that_they_have() -> None:
    logits = torch.stack([torch.full((4, 6), 0.1), torch.full((4, 6), 5.0), torch.full((4, 6), -1.0)])
    found = paste(detections([0, 2, 1], CANVAS, [0.9, 0.8, 0.7]), logits, rescore=True, boxes_from_masks=True)
    assert found.pred_classes.tolist() == [2, 0, 1]
    assert found.scores.tolist() == pytest.approx([0.7 * 0.993307, 0.9 * 0.524979, 0], abs=1e-5)
    assert found.pred_masks.flatten(1).any(1).tolist() == [True, True, False]
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 24, 16], [0, 0, 24, 16], [0, 0, 0, 0]]


@pytest.mark.parametrize("resize", ["bilinear", "nearest"])
def test_scores_are_multiplied_by_the_mean_probability_of_the_mask(resize: str) -> None:
    logits = maps(3)
    found = paste(detections([0, 1, 2], CANVAS, [1.0, 1.0, 1.0]), logits, resize=resize, rescore=True)
    whole = F.interpolate(logits[None], CANVAS, mode="bilinear", align_corners=False)[0]
    means = [(mask.sigmoid()[mask > 0].mean() if (mask > 0).any() else torch.zeros(())).item() for mask in whole]
    if resize == "bilinear":
        assert found.scores.tolist() == pytest.approx(sorted(means, reverse=True), abs=1e-4)
    assert (found.scores <= 1).all()


def test_run_lengths_are_those_of_the_masks() -> None:
    options = {"rescore": True, "boxes_from_masks": True}
    plain = paste(detections([3, 0, 3], (33, 57)), maps(5), **options)
    encoded = paste(detections([3, 0, 3], (33, 57)), maps(5), as_rle=True, **options)
    assert not encoded.has("pred_masks")
    assert all(isinstance(each["counts"], str) for each in encoded.pred_masks_rle)
    assert torch.equal(torch.as_tensor(decode_masks(encoded.pred_masks_rle, 33, 57)), plain.pred_masks)
    assert torch.equal(encoded.scores, plain.scores)


@pytest.mark.parametrize("as_rle", [False, True])
@pytest.mark.parametrize("options", [{}, {"rescore": True, "boxes_from_masks": True}, {"resize": "nearest"}])
def test_no_detections(options: dict, as_rle: bool) -> None:
    found = paste(detections([], (7, 9)), maps(5), as_rle=as_rle, **options)
    assert len(found) == 0
    assert found.pred_masks_rle == [] if as_rle else found.pred_masks.shape == (0, 7, 9)
    every = paste(detections([1, 2], (7, 9), [0.3, 0.2]), maps(5), as_rle=as_rle, min_score=0.5, **options)
    assert len(every) == 0


def test_low_scores_are_left_out_before_masks_are_made() -> None:
    found = paste(detections([1, 2, 3], CANVAS, [0.9, 0.5, 0.4]), maps(5), min_score=0.5)
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(found.pred_masks) == 2


def test_boxes_around_masks() -> None:
    masks = torch.zeros(4, 6, 8, dtype=torch.bool)
    masks[0, 2, 3] = True
    masks[1, 0, 0] = masks[1, 5, 7] = True
    masks[3] = True
    assert boxes_around(masks).tolist() == [[3, 2, 4, 3], [0, 0, 8, 6], [0, 0, 0, 0], [0, 0, 8, 6]]
    assert boxes_around(masks[:0]).shape == (0, 4)


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match=r"resize must be one of .*'cubic'"):
        PasteMasks(resize="cubic")
    for score in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"min_score must be in \[0, 1\]"):
            PasteMasks(min_score=score)
