"""Small examples of what the official functions of Mask2Former and of DETR's mask head return, to six digits."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.mask_structures import ObjectMasks, PairMasks
from querydet.modeling.masks import DiceLoss, FocalMaskLoss, PasteMasks, PointDiceLoss, PointMaskLoss
from querydet.modeling.masks.attention_map import AttentionMaps
from querydet.modeling.masks.costs import _dice, _entropy
from querydet.modeling.masks.image_masks import WholeMasks
from querydet.modeling.masks.pairs import PointSamples, sample_pairs
from querydet.modeling.masks.points import PointSampling, SeededDraws, sample_channels
from querydet.modeling.no_object import SoftmaxHungarianAssigner, SoftmaxLoss, SoftmaxPairsPostprocess
from querydet.modeling.normalizers import WeightedQueries
from querydet.structures import JoinedPredictions, MatchedPairs, ObjectCount, PredictionSet, QueryGroup, Stage, Targets

LOGITS = torch.tensor([[2.0, -1, 0.5, -3], [-0.5, 1.5, 0, 4]])  # of two queries at four points
OBJECTS = torch.tensor([[1.0, 0, 1, 0], [0, 0.25, 1, 1]])
CLASSES = torch.tensor([[1.0, 0, -1, 0.5], [-2, 1, 0, 2]])  # three classes and no object
LABELS = torch.tensor([2, 0])


def close(found: Tensor, *wanted: float, within: float = 1e-6) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(wanted), atol=within, rtol=0)


def without_no_object(logits: Tensor) -> Tensor:
    return logits[..., :-1] - logits[..., -1:]


class GivenMasks(WholeMasks):
    """Masks whose hidden state is their index."""

    def __init__(self, masks: Tensor) -> None:
        super().__init__((masks.shape[-2], masks.shape[-1]))
        self.masks = masks

    def of_batch(self, hidden: Tensor) -> Tensor:
        return torch.stack([self.of_image(0, each) for each in hidden])

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        return self.masks[hidden[:, 0].long()]


def test_values_between_pixels() -> None:
    points = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [1, 1], [0.5, 0], [0, 0.6]])
    close(sample_channels(torch.tensor([[[0.0, 1], [2, 3]]]), points), 0, 1, 1.5, 0.75, 0.25, 0.7)


def test_costs_of_masks() -> None:
    close(_entropy(LOGITS, OBJECTS).T, 0.240714, 1.553214, 1.846697, 0.627947)
    close(_dice(LOGITS, OBJECTS).T, 0.168708, 0.511948, 0.514705, 0.262237)


def test_costs_with_classes_and_the_matching() -> None:
    assigner = SoftmaxHungarianAssigner(class_weight=2, l1_weight=0, giou_weight=0)
    boxes = torch.full((1, 2, 4), 0.5)
    cost = assigner.cost([without_no_object(CLASSES)], boxes, LABELS, boxes[0])[0]
    cost = cost + 5 * _entropy(LOGITS, OBJECTS) + 5 * _dice(LOGITS, OBJECTS)
    close(cost.T, 1.918814, 9.377825, 11.629117, 4.426846)
    assert cost.argmin(1).tolist() == [0, 1]


def test_losses_of_pairs() -> None:
    samples = PointSamples(LOGITS, OBJECTS)
    close(PointMaskLoss(weight=1).compare(samples).sum() / 2, 0.434330)
    close(PointDiceLoss(weight=1).compare(samples).sum() / 2, 0.215473)


def test_class_loss() -> None:
    logits = without_no_object(CLASSES)[None]
    matched = MatchedPairs(
        image=torch.tensor([0]),
        query=torch.tensor([0]),
        object=torch.tensor([0]),
        labels=torch.tensor([2]),
        boxes=torch.zeros(1, 4),
        counts=(1,),
    )
    loss = SoftmaxLoss(weight=1, background=0.1)(JoinedPredictions(logits, torch.zeros(1, 2, 4), (2,)), matched)
    close(loss.sum() / WeightedQueries(0.1)(prediction_set(logits), targets(1)), 2.535035)


def prediction_set(logits: Tensor) -> PredictionSet:
    boxes = torch.zeros(*logits.shape[:2], 4)
    return PredictionSet(Stage.DECODER, 0, True, QueryGroup("primary", 0, logits.shape[1]), logits, boxes, boxes)


def targets(count: int) -> Targets:
    labels, boxes = torch.zeros(count, dtype=torch.int64), torch.zeros(count, 4)
    return Targets((labels,), (boxes,), names=("image",), seeds=(None,), step=ObjectCount((count,)))


def test_without_objects_the_class_loss_is_a_mean_over_few_queries_too() -> None:
    """The weighted mean of torch's cross-entropy, also where the weights of all queries are less than one."""
    logits = without_no_object(CLASSES)[None]
    joined = JoinedPredictions(logits, torch.zeros(1, 2, 4), (2,))
    empty = torch.zeros(0, dtype=torch.int64)
    matched = MatchedPairs(empty, empty, empty, labels=empty, boxes=torch.zeros(0, 4), counts=(0,))
    loss = SoftmaxLoss(weight=1, background=0.1)(joined, matched)
    wanted = F.cross_entropy(CLASSES, torch.tensor([3, 3]), weight=torch.tensor([1, 1, 1, 0.1]))
    close(loss.sum() / WeightedQueries(0.1)(prediction_set(logits), targets(0)), wanted.item())


def test_detections() -> None:
    logits = without_no_object(CLASSES)[None]
    masks = GivenMasks(torch.stack([torch.tensor([[2.0, -1], [0.5, -3]]), -torch.ones(2, 2)]))
    (best,) = SoftmaxPairsPostprocess(num_detections=4)(
        logits, torch.tensor([0.5, 0.5, 1, 1]).expand(1, 2, 4), [(2, 2)]
    )
    hidden = torch.arange(2.0)[:, None]
    found = PasteMasks(resize="bilinear", rescore=True, boxes_from_masks=True)(best, masks, 0, hidden, (2, 2))
    close(found.scores, 0.356265, 0.131062, 0, 0)
    assert found.pred_classes.tolist() == [0, 1, 2, 1] or found.pred_classes.tolist() == [0, 1, 1, 2]
    assert found.pred_masks[0].tolist() == [[True, False], [True, False]]
    assert found.pred_masks[1].equal(found.pred_masks[0])
    assert not found.pred_masks[2:].any()
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 1, 2]] * 2 + [[0, 0, 0, 0]] * 2


@dataclass
class GivenDraws:
    """Points of each purpose."""

    points: dict[str, Tensor]

    def __call__(self, purpose: str, predictions: str, image: int, rows: int, count: int) -> Tensor:
        assert self.points[purpose].shape == (rows, count, 2)
        return self.points[purpose]


def test_uncertain_points() -> None:
    torch.manual_seed(0)
    draws = GivenDraws({"candidates": torch.rand(1, 12, 2), "extra": torch.rand(1, 1, 2)})
    masks = torch.tensor([[[3, 0.2, -0.1, -4], [2, 1, -0.5, 0.05]]])
    pairs = pair_of(masks, torch.ones(1, 2, 4), draws)
    wanted = torch.tensor([[0.490093, 0.896445], [0.681609, 0.915194], [0.496257, 0.768222], [0.419408, 0.552907]])
    found = sample_pairs(pairs, PointSampling(num_points=4, oversampling=3, importance=0.75))
    close(found.logits, *sample_channels(masks, wanted)[0].tolist(), within=1e-5)  # of printed coordinates


def pair_of(masks: Tensor, objects: Tensor, draws: object) -> PairMasks:
    """Pairs of predicted masks (n, h, w) and objects (n, h, w) of one image."""
    count, height, width = objects.shape
    return PairMasks(
        predicted=GivenMasks(masks),
        objects=ObjectMasks(
            pixels=objects.flatten().bool(),
            starts=torch.arange(count) * height * width,
            sizes=torch.tensor([[height, width]] * count),
            canvas=(height, width),
            draws=draws,  # type: ignore[arg-type]
        ),
        hidden=(torch.arange(float(count))[:, None],),
        object=(torch.arange(count),),
        sets=((("a set", count),),),
        order=torch.arange(count),
    )


def test_attention_maps() -> None:
    maps = AttentionMaps(4, 2)
    with torch.no_grad():
        for linear in (maps.query, maps.key):
            linear.weight.copy_(torch.eye(4))
    memory = torch.tensor([[1, 0, 0.5, 0], [2, 1, 0, 1]]).T.reshape(1, 4, 1, 2)
    found = maps(torch.tensor([[[1.0, 0, 2, -1]]]), memory, torch.zeros(1, 1, 2, dtype=torch.bool))
    close(found, 0.234124, 0.474831, 0.234124, 0.056920)


@pytest.mark.parametrize(("term", "wanted"), [(FocalMaskLoss(weight=1), 0.122672), (DiceLoss(weight=1), 0.235232)])
def test_losses_of_whole_masks(term: FocalMaskLoss | DiceLoss, wanted: float) -> None:
    objects = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 1]])
    pairs = pair_of(LOGITS.view(2, 2, 2), objects.view(2, 2, 2), SeededDraws([None], torch.device("cpu")))
    matched = MatchedPairs(
        image=torch.zeros(2, dtype=torch.int64),
        query=torch.arange(2),
        object=torch.arange(2),
        labels=torch.zeros(2, dtype=torch.int64),
        boxes=torch.zeros(2, 4),
        counts=(2,),
        masks=pairs,
    )
    joined = JoinedPredictions(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), (2,))
    close(term(joined, matched).sum() / 2, wanted)
