"""Groups of learned queries: who sees whom, what an object is offered to, and where gradients go."""

import pytest
import torch
from detectron2.config import instantiate

from querydet.modeling.geometry import padding_mask
from querydet.modeling.selection import LearnedQueries
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector

TABLES = ("weight", "embedding", "anchors", "content")  # of one group; all share the head of reference points
GROUPED = ("group_detr", "group_conditional_detr", "group_dab_detr", "group_dn_dab_detr")


def predictions_of(detector):
    images = detector.preprocess(make_inputs([(96, 128), (64, 64)]))
    return detector.predict(detector.backbone(images.tensor), padding_mask(images), make_targets([3, 2]))


@pytest.mark.parametrize("name", GROUPED)
def test_no_gradient_passes_between_groups(name):
    """What a group predicts depends on its own tables and no other's, in every layer."""
    detector = tiny_detector(name).train()
    tables = [detector.selection, *detector.selection.extra_groups]
    for number, group in enumerate(("primary", "group1", "group2")):
        detector.zero_grad()
        sets = [each for each in predictions_of(detector) if each.group.name == group]
        assert len(sets) == 2
        sum(each.logits.square().sum() + each.boxes.square().sum() for each in sets).backward()
        for other, table in enumerate(tables):
            own = [value for name, value in table.named_parameters() if name.split(".")[0] in TABLES]
            assert own
            reached = [value.grad is not None and bool(value.grad.any()) for value in own]
            assert all(reached) if other == number else not any(reached), (group, other)


@pytest.mark.parametrize("name", GROUPED)
def test_the_order_of_the_extra_groups_does_not_matter(name):
    detector = tiny_detector(name).train()
    if detector.denoising is not None:
        pytest.skip("the noise of a group is that of its number")
    inputs = make_inputs([(96, 128)], [3])
    before = detector(inputs)
    first, second = detector.selection.extra_groups
    detector.selection.extra_groups = torch.nn.ModuleList([second, first])
    for key, value in detector(inputs).items():
        torch.testing.assert_close(value, before[key])


def test_one_group_is_the_base():
    inputs = make_inputs([(96, 128), (64, 64)], [3, 1])
    for name, base in (("group_detr", "detr"), ("group_dab_detr", "dab_detr")):
        config = tiny_config(name, selection__num_groups=1, _target_="querydet.modeling.detector.QueryDetector")
        torch.manual_seed(0)
        grouped = instantiate(config).train()
        plain = tiny_detector(base).train()
        plain.load_state_dict(grouped.state_dict())
        found, wanted = grouped(inputs), plain(inputs)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_joint_attention_lets_groups_see_each_other_and_inference_has_one():
    detector = tiny_detector("group_conditional_detr", selection__separate=False).train()
    primary = [each for each in predictions_of(detector) if each.group.name == "primary"]
    assert primary[0].group.visible_groups == ("group1", "group2")
    primary[-1].logits.sum().backward()
    assert all(table.weight.grad.any() for table in detector.selection.extra_groups)
    detector.eval()
    images = detector.preprocess(make_inputs([(96, 128), (64, 64)]))
    with torch.no_grad():
        (alone,) = detector.predict(detector.backbone(images.tensor), padding_mask(images))
    assert len(alone.group) == 12
    assert (alone.logits - primary[-1].logits).abs().max() > 1e-4  # trained among all, used alone


def test_naive_one_to_many_offers_an_object_several_times():
    detector = tiny_detector("conditional_detr", selection__repeats=3).train()
    predictions, targets = predictions_of(detector), make_targets([3, 2])
    (rule,) = detector.criterion.rules
    found = rule.assigner.assign(rule.assigner.compute(predictions, targets), predictions, targets)
    for image, count in enumerate((3, 2)):
        assert torch.equal(found[0][image].objects.bincount(), torch.full((count,), 3))
    assert predictions[0].group.loss_divisor == 3


@pytest.mark.parametrize("repeats", [0, 13, 2.5])
def test_repeats_fit_the_queries(repeats):
    with pytest.raises(ValueError, match=rf"repeats={repeats} does not fit.*12 queries"):
        LearnedQueries(num_queries=12, embed_dim=8, repeats=repeats)


def test_at_least_one_group():
    for name, number in (("group_detr", 0), ("group_dab_detr", -1), ("group_conditional_detr", 2.5)):
        with pytest.raises(ValueError, match=rf"num_groups must be at least 1.*found {number}"):
            instantiate(tiny_config(name, selection__num_groups=number))


def test_groups_of_denoising_and_of_queries_are_as_many():
    with pytest.raises(ValueError, match=r"makes queries for 2 groups, but model.selection makes 3"):
        instantiate(tiny_config("group_dn_dab_detr", denoising__num_groups=2))


def test_a_composition_that_no_paper_has():
    """Groups of boxes on DAB-DETR, all of them read one to many too, with the cross-attention first."""
    config, many = tiny_config("group_dab_detr"), tiny_config("ms_detr")
    config.decoder.layer.order = many.decoder.layer.order
    config.decoder.layer.read_out = many.decoder.layer.read_out
    config.decoder.layer.read_out.extra_groups = True
    config.criterion.rules.append(many.criterion.rules[1])
    torch.manual_seed(0)
    detector = instantiate(config).train()
    for counts in ([3, 1], [0, 0], [20, 0]):
        losses = detector(make_inputs([(96, 128), (64, 64)], counts))
        assert {"loss_class_o2m", "loss_giou_o2m_0"} <= set(losses)
        detector.zero_grad()
        sum(losses.values()).backward()
        assert all(value.grad is not None and value.grad.isfinite().all() for value in detector.parameters())


def test_repeated_objects_are_assigned_one_to_one_each():
    config = tiny_config("conditional_detr", selection__repeats=2)
    config.criterion.rules[0].assigner = tiny_config("ms_detr").criterion.rules[1].assigner
    config.postprocess = tiny_config("deta").postprocess
    with pytest.raises(ValueError, match="offers each object 2 times, and OneToManyAssigner does not repeat"):
        instantiate(config)
