"""H-DETR: an extra group that leaves the primary one alone."""

import pytest
import torch
from detectron2.config import instantiate

from querydet.analysis.flops import build_on_meta, count_parameters
from querydet.config import get_config
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.selection import HybridSelection, LearnedBoxes, anchor_tokens
from querydet.structures import PredictionSet, Targets
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector

SIZES = [(96, 128), (80, 64)]


def predictions_of(detector: QueryDetector, targets: Targets | None) -> tuple[PredictionSet, ...]:
    images = detector.preprocess(make_inputs(SIZES))
    return detector.predict(detector.backbone(images.tensor), padding_mask(images), targets)


def base_of(detector: QueryDetector) -> QueryDetector:
    base = tiny_detector("deformable_detr_pp")
    base.load_state_dict({key: value for key, value in detector.state_dict().items() if "extra_content" not in key})
    return base


def without_extra_queries() -> QueryDetector:
    config = tiny_config("h_detr", selection__extra_queries=0)
    config.selection.extra_content = None
    return instantiate(config)


def test_without_extra_queries_it_is_the_base_model_bit_for_bit() -> None:
    detector = without_extra_queries()
    inputs = make_inputs(SIZES, [3, 1])
    found, wanted = detector.train()(inputs), base_of(detector).train()(inputs)
    assert set(found) == set(wanted)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


@torch.no_grad()
def test_the_primary_group_is_the_model_without_the_extra_one() -> None:
    detector = tiny_detector("h_detr")
    targets = make_targets([3, 1])
    wanted = predictions_of(base_of(detector), targets)
    found = [each for each in predictions_of(detector, targets) if each.group.name == "primary"]
    for ours, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.logits, other.logits, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ours.boxes, other.boxes, rtol=1e-6, atol=1e-6)
    detector.selection.extra_content.weight.fill_(torch.nan)
    (alone,) = predictions_of(detector, None)
    torch.testing.assert_close(alone.logits, wanted[-1].logits, rtol=1e-6, atol=1e-6)


def test_primary_losses_are_those_of_the_model_without_the_extra_group() -> None:
    detector = tiny_detector("h_detr")
    inputs = make_inputs(SIZES, [3, 1])
    found, wanted = detector.train()(inputs), base_of(detector).train()(inputs)
    assert {key for key in found if "hybrid" not in key} == set(wanted)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)


def test_the_extra_group_starts_from_the_next_ranks() -> None:
    detector = tiny_detector("h_detr").eval()
    images = detector.preprocess(make_inputs(SIZES))
    memory = detector.encoder(detector.neck(detector.backbone(images.tensor), padding_mask(images)))
    primary, extra = detector.selection(memory, training=True)
    proposals = detector.selection.proposals(anchor_tokens(memory))
    best = detector.selection.select(proposals, 32)
    wanted = proposals.boxes_unsigmoid.gather(1, best[..., None].expand(-1, -1, 4)).sigmoid()
    assert torch.equal(torch.cat([primary.boxes, extra.boxes], dim=1), wanted)
    assert (extra.group.target_repeats, extra.group.loss_divisor) == (2, 2)
    assert extra.predictions is None


def test_neither_group_sees_the_other() -> None:
    detector = tiny_detector("h_detr").train()
    predictions = predictions_of(detector, make_targets([3, 1]))
    for own, other in (("primary", "extra_content"), ("hybrid", "selection.content")):
        detector.zero_grad()
        sets = [each for each in predictions if each.group.name == own]
        sum(each.logits.sum() + each.boxes.sum() for each in sets).backward(retain_graph=True)
        reached = [key for key, value in detector.named_parameters() if value.grad is not None and value.grad.any()]
        assert not [key for key in reached if other in key]


def test_the_extra_group_is_divided_by_its_repeats_and_weighed() -> None:
    inputs = make_inputs(SIZES, [3, 1])
    whole = tiny_detector("h_detr").train()(inputs)
    half = tiny_detector("h_detr", selection__extra_weight=0.5).train()(inputs)
    for key, value in whole.items():
        torch.testing.assert_close(half[key], value * (0.5 if "hybrid" in key else 1))
    detector = tiny_detector("h_detr").train()
    targets = make_targets([3, 1])
    predictions = predictions_of(detector, targets)
    (last,) = [each for each in predictions if each.group.name == "hybrid" and each.is_last]
    rule = detector.criterion.rules["decoder"]
    wanted = 0.0
    for image, pairs in enumerate(rule.assigner(last, targets)):
        assert pairs.objects.bincount().tolist() == [2] * targets.counts[image]
        difference = last.boxes[image, pairs.queries] - targets.boxes[image][pairs.objects]
        wanted += 5 * difference.abs().sum() / (2 * 4)
    torch.testing.assert_close(detector.criterion(predictions, targets)["loss_l1_hybrid"], wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra_queries": -1}, "extra_queries and extra_weight must not be negative"),
        ({"repeats": 0}, "repeats be at least 1"),
        ({"extra_content": None}, "extra_content has 0 rows for extra_queries=20"),
    ],
)
def test_arguments_out_of_range(changes: dict, message: str) -> None:
    config = tiny_config("h_detr")
    config.selection.extra_content.num_queries = 20
    config.selection.update(changes)
    with pytest.raises(ValueError, match=message):
        instantiate(config)


def test_full_size_model_has_the_parameters_of_the_port() -> None:
    detector = build_on_meta(get_config("common/models/h_detr.py").model)
    assert count_parameters(detector).total == 47_926_284  # detrex at commit e244e6c3, 80 classes


def test_the_next_best_need_proposals() -> None:
    with pytest.raises(ValueError, match="takes the next best proposals, which LearnedBoxes does not make"):
        HybridSelection(selection=LearnedBoxes(num_queries=3, embed_dim=8))


def test_groups_have_no_next_best() -> None:
    with pytest.raises(ValueError, match="groups of groups are not supported"):
        HybridSelection(selection=instantiate(tiny_config("group_deformable_detr_pp")).selection, extra_queries=0)
