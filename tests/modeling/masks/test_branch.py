"""Which predictions have masks in training, and which queries the masks of detections come from."""

from dataclasses import replace

import pytest
import torch
from detectron2.structures import Instances

from querydet.modeling.masks import MaskBranch, PasteMasks
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from querydet.structures import Branch, PredictionSet, QueryGroup, Role, Stage
from tests.modeling.masks.pairs import Given, numbered
from tests.modeling.masks.scenes import hidden_states, pixel_embedding
from tests.models import make_predictions


def branch(**options: object) -> MaskBranch:
    return MaskBranch(head=pixel_embedding(), paste=PasteMasks(), **options)


def predictions() -> dict[str, PredictionSet]:
    base = replace(make_predictions(1, 4), hidden=hidden_states(1, 4))
    group = QueryGroup("group1", 0, 4)
    denoising = QueryGroup("noise", 0, 4, Role.DENOISING)
    last = replace(base, is_last=True)
    return {
        "early": base,
        "last": last,
        "group": replace(last, group=group),
        "denoising": replace(last, group=denoising),
        "one_to_many": replace(last, branch=Branch.ONE_TO_MANY),
        "group one_to_many": replace(last, group=group, branch=Branch.ONE_TO_MANY),
        "second_stream": replace(last, branch=Branch.SECOND_STREAM),
        "encoder": replace(last, stage=Stage.ENCODER, hidden=None),
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, "last"),
        ({"layers": "all"}, "early last"),
        ({"groups": "all"}, "last group"),
        ({"roles": ["matching", "denoising"]}, "last denoising"),
        ({"branches": ["one_to_one", "one_to_many"]}, "last one_to_many"),
        (
            {"groups": "all", "branches": ["one_to_one", "one_to_many", "second_stream"]},
            "last,group,one_to_many,group one_to_many,second_stream",
        ),
    ],
)
def test_predictions_with_masks(options: dict, names: str) -> None:
    sets = predictions()
    masks = Given(torch.zeros(4, 2, 2), (8, 8))
    attached = branch(**options).attach(list(sets.values()), masks)
    found = [name for name, one in zip(sets, attached, strict=True) if one.masks is masks]
    assert found == (names.split(",") if "," in names else names.split())
    for before, after in zip(sets.values(), attached, strict=True):
        assert replace(after, masks=None) is not before or before is after
        assert after.logits is before.logits
    for name, one in sets.items():
        if name in found:
            assert branch(**options).covers(one.group.role, one.branch)


def test_heads_that_tell_no_hidden_states() -> None:
    one = replace(predictions()["last"], hidden=None)
    with pytest.raises(ValueError, match=r"model\.heads give .* without the hidden states.*fill `hidden`"):
        branch().attach([one], Given(torch.zeros(4, 2, 2), (8, 8)))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"layers must be one of .* 'first'"):
        branch(layers="first")
    with pytest.raises(ValueError, match=r"groups one of .* 'none'"):
        branch(groups="none")
    with pytest.raises(ValueError, match="'noise' is not a valid Role"):
        branch(roles=["noise"])
    with pytest.raises(ValueError, match="'second' is not a valid Branch"):
        branch(branches=["second"])
    for options in ({"roles": []}, {"roles": ["denoising"]}, {"branches": ["one_to_many"]}):
        with pytest.raises(ValueError, match="inference reads masks of matching queries"):
            branch(**options)


def scene() -> tuple[PredictionSet, torch.Tensor]:
    """Four queries, each with its own mask: query n covers column n of four."""
    maps = torch.full((4, 4, 4), -5.0)
    for query in range(4):
        maps[query, :, query] = 5.0
    one = make_predictions(1, 4)
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [1.6, 0.5, 0.2, 0.2], [0.5, 0.5, 0.21, 0.2], [0.2, 0.2, 0.1, 0.1]])
    logits = torch.full((1, 4, 5), -8.0)
    logits[0, :, 0] = torch.tensor([1.0, 4.0, 3.0, 2.0])
    logits[0, 3, 2] = 2.5
    one = replace(one, boxes=boxes[None], logits=logits, hidden=numbered(4), masks=Given(maps, (4, 4)), is_last=True)
    return one, maps > 0


@pytest.mark.parametrize("as_rle", [False, True])
def test_masks_follow_their_queries_after_clipping_has_dropped_some(as_rle: bool) -> None:
    one, masks = scene()
    found = TopKPostprocess(num_detections=5)(one.logits, one.boxes, [(4, 4)])
    (made,) = MaskBranch(head=pixel_embedding(), paste=PasteMasks()).add_masks(found, one, [(4, 4)])
    # query 1 lies outside of the image; query 3 has two classes
    assert made.query_indices.tolist() == [2, 3, 3, 0]
    assert torch.equal(made.pred_masks, masks[[2, 3, 3, 0]])


def test_masks_follow_their_queries_after_suppression() -> None:
    one, masks = scene()
    post = NMSPostprocess(num_detections=4, iou_threshold=0.5, max_candidates=20)
    (made,) = branch().add_masks(post(one.logits, one.boxes, [(4, 4)]), one, [(4, 4)])
    assert 0 not in made.query_indices.tolist()[:2]
    assert torch.equal(made.pred_masks, masks[made.query_indices])
    assert made.query_indices[0] == 2


def test_a_postprocess_that_tells_no_queries() -> None:
    one, _ = scene()
    with pytest.raises(ValueError, match=r"model\.postprocess does not tell which query.*query_indices"):
        branch().add_masks([Instances((4, 4))], one, [(4, 4)])
