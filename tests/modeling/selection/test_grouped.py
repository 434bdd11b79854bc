"""Group DETR: each group is trained as if it were alone, and inference knows the primary one alone."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from torch import nn

from querydet.config import deeper
from querydet.modeling.geometry import padding_mask
from querydet.modeling.queries.grouped_denoising import group_seeds
from querydet.modeling.selection import GroupedSelection, LearnedBoxes, TopKSelection, anchor_tokens, topk
from querydet.structures import InitialQueries, Role, Stage, TokenPyramid
from tests.modeling.selection.groups import (
    BASES,
    PER_GROUP,
    SIZES,
    TWO_STAGE,
    base_detector,
    dynamic,
    losses_of,
    predictions_of,
    weights_of_group,
)
from tests.modeling.selection.test_learned import memory
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector


@pytest.mark.parametrize("counts", [[3, 1], [0, 2], [0, 0], [30, 1]])
@pytest.mark.parametrize("name", BASES)
def test_the_loss_is_the_mean_of_what_each_group_gives_as_a_model_of_its_own(name: str, counts: list[int]) -> None:
    if name == "group_conditional_detr" and not any(counts):
        pytest.skip("MeanRepeatedObjects divides by 1 without objects, whatever the number of groups")
    detector = tiny_detector(name)
    inputs = make_inputs(SIZES, counts)
    found = losses_of(detector, inputs)
    alone = []
    for number in range(3):
        base = base_detector(name)
        base.load_state_dict(weights_of_group(detector, number))
        seeds = group_seeds([each["seed"] for each in inputs], number)
        alone.append(losses_of(base, [each | {"seed": seed} for each, seed in zip(inputs, seeds, strict=True)]))
    assert set(found) == set(alone[0])
    for key, value in found.items():
        wanted = torch.stack([losses[key] for losses in alone])
        torch.testing.assert_close(value, wanted.mean(), rtol=1e-4, atol=1e-6, msg=key)
        assert len(wanted.unique()) == 3 or counts == [0, 0], f"{key}: the groups should differ"


@pytest.mark.parametrize("name", BASES)
def test_one_group_is_the_base_model_bit_for_bit(name: str) -> None:
    torch.manual_seed(3)
    base = instantiate(tiny_config(BASES[name], **dynamic(name)))
    torch.manual_seed(3)
    single = instantiate(
        tiny_config(name, selection__num_groups=1, _target_="querydet.modeling.detector.QueryDetector")
    )
    state = weights_of_group(single, 0)
    assert all(torch.equal(value, state[key]) for key, value in base.state_dict().items())
    base = base_detector(name)
    single.load_state_dict(
        {key.replace("denoising.", "denoising.members.0."): value for key, value in base.state_dict().items()}
    )
    inputs = make_inputs(SIZES, [3, 1])
    wanted, found = losses_of(base, inputs), losses_of(single, inputs)
    assert set(found) == set(wanted)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_heads_start_equal_but_for_their_projection_and_contents_do_not() -> None:
    selection = instantiate(tiny_config("group_dino")).selection
    assert len(selection.extra_proposals) == len(selection.extra_contents) == 2
    for head in selection.extra_proposals:
        for key, value in selection.proposals.state_dict().items():
            assert torch.equal(head.state_dict()[key], value) == (not key.startswith("linear")), key
    for others, primary in (
        ([head.linear for head in selection.extra_proposals], selection.proposals.linear),
        (selection.extra_contents, selection.content),
    ):
        first, second = (each.weight for each in others)
        assert not torch.equal(first, second)
        torch.testing.assert_close(first.std(), primary.weight.std(), rtol=0.2, atol=0)


@pytest.mark.parametrize("name", [name for name in BASES if name != "group_detr"])  # whose queries have no boxes
def test_groups_start_from_different_boxes_from_the_first_step_on(name: str) -> None:
    torch.manual_seed(0)
    detector = instantiate(tiny_config(name))
    first_layer = [
        each
        for each in predictions_of(detector.train(), (0, 0))
        if each.group.role is Role.MATCHING and each.stage is Stage.DECODER and each.layer == 0
    ]
    first, second, third = (each.start_boxes for each in first_layer)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


@pytest.mark.parametrize("name", BASES)
@torch.no_grad()
def test_inference_is_group_zero_of_training_and_runs_nothing_of_the_others(name: str) -> None:
    detector = tiny_detector(name)
    trained = next(each for each in predictions_of(detector)[::-1] if each.group.name == "primary")
    for key, value in detector.named_parameters():
        if key.startswith(("selection.extra_", "denoising.")):
            value.fill_(torch.nan)
    (alone,) = predictions_of(detector, counts=None)
    assert alone.logits.shape[1] == 12
    torch.testing.assert_close(alone.logits, trained.logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(alone.boxes, trained.boxes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", BASES)
@torch.no_grad()
def test_permuting_the_extra_groups_changes_nothing(name: str) -> None:
    detector = tiny_detector(name)
    if detector.denoising is not None:  # the place of a group decides its noise
        for member in detector.denoising.members:
            member.box_noise = member.label_noise = 0.0
    inputs = make_inputs(SIZES, [3, 1])
    losses, predictions = losses_of(detector, inputs), predictions_of(detector)
    selection = detector.selection
    for part in ("extra_proposals", "extra_contents", "extra_groups"):
        if hasattr(selection, part):
            setattr(selection, part, getattr(selection, part)[::-1])
    if detector.denoising is not None:
        first, *others = detector.denoising.members
        detector.denoising.members = torch.nn.ModuleList([first, *others[::-1]])
    for key, value in losses_of(detector, inputs).items():
        torch.testing.assert_close(value, losses[key], rtol=1e-5, atol=1e-6, msg=key)
    for before, after in zip(predictions, predictions_of(detector), strict=True):
        if before.group.name == "primary":
            torch.testing.assert_close(after.logits, before.logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", BASES)
def test_no_group_influences_another(name: str) -> None:
    detector = tiny_detector(name).train()
    images = detector.preprocess(make_inputs(SIZES))
    with torch.no_grad():
        memory = detector.encoder(detector.neck(detector.backbone(images.tensor), padding_mask(images)))
        queries = detector.compose_queries(detector.selection(memory, training=True), make_targets([2, 1]))
    for group in queries.groups:
        content = queries.content.detach().requires_grad_()
        outputs = detector.decoder(replace(queries, content=content), memory, detector.heads)
        outputs[-1].hidden[:, group.rows].sum().backward()
        reached = {each.name for each in queries.groups if content.grad[:, each.rows].any()}
        assert reached == {group.name, *group.visible_groups}


@pytest.mark.parametrize("source", ["shared", "ranked"])
@pytest.mark.parametrize("name", TWO_STAGE)
def test_groups_from_one_set_of_proposals(name: str, source: str) -> None:
    detector = tiny_detector(name, selection__source=source)
    assert not hasattr(detector.selection, "extra_proposals")
    images = detector.preprocess(make_inputs(SIZES))
    memory = detector.encoder(detector.neck(detector.backbone(images.tensor), padding_mask(images)))
    groups = detector.selection(memory, training=True)
    together = torch.cat([each.boxes for each in groups], dim=1)
    proposals = detector.selection.proposals(anchor_tokens(memory))
    best = detector.selection.select(proposals, 36 if source == "ranked" else 12)
    wanted = proposals.boxes_unsigmoid.gather(1, best[..., None].expand(-1, -1, 4)).sigmoid()
    assert torch.equal(together, wanted if source == "ranked" else wanted.repeat(1, 3, 1))
    assert [each.predictions is None for each in groups] == [False, True, True]

    losses = losses_of(detector, make_inputs(SIZES, [3, 1]))
    base = base_detector(name)
    base.load_state_dict(weights_of_group(detector, 0))
    alone = losses_of(base, make_inputs(SIZES, [3, 1]))
    for key in losses:
        if key.endswith("_enc"):  # supervised once, with its full weight
            torch.testing.assert_close(losses[key], alone[key], rtol=1e-5, atol=1e-6)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_more_groups_than_the_images_have_tokens_for() -> None:
    detector = tiny_detector("group_dino", selection__source="ranked", selection__selection__num_queries=150)
    with pytest.raises(ValueError, match="fewer than the 450 queries to select"):
        losses_of(detector, make_inputs([(96, 128)], [1]))


@pytest.mark.parametrize("name", BASES)
def test_the_losses_of_a_group_train_its_own_part_and_no_other_groups(name: str) -> None:
    detector = tiny_detector(name).train()
    for number, group in enumerate(("primary", "group1", "group2")):
        detector.zero_grad()
        sets = [each for each in predictions_of(detector) if each.group.name == group]
        assert (Stage.ENCODER in {each.stage for each in sets}) == (name in TWO_STAGE)
        sum(each.logits.square().sum() + each.boxes.square().sum() for each in sets).backward()
        reached = {key for key, value in detector.named_parameters() if value.grad is not None and value.grad.any()}
        groups = {0 for key in reached if key.startswith(PER_GROUP)}
        groups |= {int(key.split(".")[2]) + 1 for key in reached if key.startswith("selection.extra_")}
        assert groups == {number}
        assert not [key for key in reached if key.startswith("denoising.")]


def test_joint_attention_lets_groups_see_each_other_and_inference_has_one() -> None:
    detector = tiny_detector("group_conditional_detr", selection__separate=False).train()
    primary = [each for each in predictions_of(detector) if each.group.name == "primary"]
    assert primary[0].group.visible_groups == ("group1", "group2")
    primary[-1].logits.sum().backward()
    assert all(table.weight.grad.any() for table in detector.selection.extra_groups)
    detector.eval()
    with torch.no_grad():
        (alone,) = predictions_of(detector, counts=None)
    assert len(alone.group) == 12
    assert (alone.logits - primary[-1].logits).abs().max() > 1e-4  # trained among all, used alone


def test_any_selection_can_be_grouped() -> None:
    """This one says nothing about groups: all of its weights are copied and drawn again."""
    config = tiny_config("deformable_detr_one_stage")
    config.selection = L(GroupedSelection)(selection=deeper(config.selection), num_groups=3)
    detector = instantiate(config)
    first, second = detector.selection.extra_groups
    assert not torch.equal(first.embedding.weight, second.embedding.weight)
    assert not torch.equal(first.reference_points.weight, detector.selection.reference_points.weight)
    assert not first.reference_points.bias.any()  # as in the primary group
    sum(losses_of(detector, make_inputs(SIZES, [3, 1])).values()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_the_first_stages_anchors_are_computed_once_for_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, calls = tiny_detector("group_dino").train(), []
    monkeypatch.setattr(topk, "anchor_tokens", lambda memory: calls.append(1) or anchor_tokens(memory))
    predictions_of(detector)
    assert len(calls) == 1


def grouped(name: str, **arguments: object) -> GroupedSelection:
    return GroupedSelection(selection=instantiate(tiny_config(name)).selection, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["group_detr", "group_dab_detr", "group_dino", "h_detr"])
def test_groups_of_groups_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"groups of groups are not supported"):
        grouped(name, num_groups=2)


def test_a_selection_that_makes_several_groups_by_itself_is_refused() -> None:
    class Several(LearnedBoxes):
        def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
            return super().forward(memory, training) * 2

        def another(self) -> "Several":
            return Several(num_queries=3, embed_dim=8)

    selection = GroupedSelection(selection=Several(num_queries=3, embed_dim=8), num_groups=3)
    with pytest.raises(ValueError, match="Several makes 2 groups itself, and groups of groups are not supported"):
        selection(memory(1), True)


class Undrawn(nn.Module):
    """A selection whose weights nothing draws again."""

    num_queries = 3

    def __init__(self) -> None:
        super().__init__()
        self.boxes = nn.Parameter(torch.rand(3, 4))


class WithoutWeights:
    """A selection that is no module."""

    num_queries = 3


@pytest.mark.parametrize("kind", [Undrawn, WithoutWeights])
def test_groups_that_would_be_equal_are_refused(kind: type) -> None:
    with pytest.raises(ValueError, match=rf"all groups of {kind.__name__} would be equal.*reset_parameters"):
        GroupedSelection(selection=kind(), num_groups=3)
    assert GroupedSelection(selection=kind(), num_groups=1).num_groups == 1


def test_groups_without_values_yet_are_built() -> None:
    with torch.device("meta"):
        assert grouped("dab_detr", num_groups=3).num_groups == 3


@pytest.mark.parametrize("source", ["shared", "ranked"])
def test_groups_from_one_set_of_proposals_need_proposals(source: str) -> None:
    with pytest.raises(ValueError, match=f"source='{source}' takes .* and LearnedBoxes makes none: set source='per_s"):
        GroupedSelection(selection=LearnedBoxes(num_queries=3, embed_dim=8), source=source)


def test_groups_that_nothing_tells_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing would tell the groups apart: set content"):
        grouped("deformable_detr", source="shared")
    assert isinstance(grouped("deformable_detr", source="ranked").selection, TopKSelection)


@pytest.mark.parametrize("number", [0, -1, 2.5])
def test_at_least_one_group(number: object) -> None:
    with pytest.raises(ValueError, match=rf"num_groups must be at least 1.*found {number}"):
        GroupedSelection(selection=LearnedBoxes(num_queries=3, embed_dim=8), num_groups=number)  # type: ignore[arg-type]


def test_a_source_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"source must be one of .*, found 'best'"):
        GroupedSelection(selection=LearnedBoxes(num_queries=3, embed_dim=8), source="best")
