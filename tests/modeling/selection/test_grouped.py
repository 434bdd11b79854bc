"""Group DETR: each group is trained as if it were alone, and inference knows the primary one alone."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.queries.grouped_denoising import GroupedDenoising, group_seeds
from querydet.modeling.selection import anchor_tokens
from querydet.modeling.selection.grouped import group_name
from querydet.structures import PredictionSet, Role, Stage
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector

TWO_STAGE = {"group_deformable_detr_pp": "deformable_detr_pp", "group_dino": "dino"}
BASES = {**TWO_STAGE, "group_dab_deformable_detr": "dab_deformable_detr", "group_dn_detr": "dn_detr"}
PER_GROUP = ("selection.proposals.", "selection.content.", "selection.anchors.")
SIZES = [(96, 128), (80, 64)]


def losses_of(detector: QueryDetector, inputs: list[dict]) -> dict[str, Tensor]:
    losses = detector.train()(inputs)
    assert isinstance(losses, dict)
    return losses


def predictions_of(detector: QueryDetector, counts: tuple[int, ...] | None = (3, 2)) -> tuple[PredictionSet, ...]:
    images = detector.preprocess(make_inputs(SIZES))
    targets = None if counts is None else make_targets(list(counts))
    return detector.predict(detector.backbone(images.tensor), padding_mask(images), targets)


def dynamic(name: str) -> dict[str, int | None]:
    """Group DETR lets DN-DETR's number of denoising groups depend on the objects."""
    return {"denoising__num_groups": None, "denoising__num_queries": 100} if name == "group_dn_detr" else {}


def base_detector(name: str) -> QueryDetector:
    return tiny_detector(BASES[name], **dynamic(name))


def weights_of_group(detector: QueryDetector, number: int) -> dict[str, Tensor]:
    """Weights of the base model that has the parts of one group only."""
    state = {}
    for name, value in detector.state_dict().items():
        if name.startswith("denoising."):
            _, _, member, rest = name.split(".", 3)
            state |= {f"denoising.{rest}": value} if int(member) == number else {}
        elif name.startswith("selection.extra_groups."):
            _, _, member, rest = name.split(".", 3)
            state |= {f"selection.{rest}": value} if int(member) == number - 1 else {}
        elif name.startswith("selection.extra_"):
            _, part, member, rest = name.split(".", 3)
            base = {"extra_proposals": "proposals", "extra_contents": "content"}[part]
            state |= {f"selection.{base}.{rest}": value} if int(member) == number - 1 else {}
        elif number == 0 or not name.startswith(PER_GROUP):
            state[name] = value
    return state


@pytest.mark.parametrize("counts", [[3, 1], [0, 2], [0, 0], [30, 1]])
@pytest.mark.parametrize("name", BASES)
def test_the_loss_is_the_mean_of_what_each_group_gives_as_a_model_of_its_own(name: str, counts: list[int]) -> None:
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


@pytest.mark.parametrize("name", BASES)
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


def test_groups_that_nothing_tells_apart_are_refused() -> None:
    config = tiny_config("group_deformable_detr_pp", selection__source="shared")
    config.selection.content = None
    with pytest.raises(ValueError, match="nothing would tell the groups apart: set content"):
        instantiate(config)


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


@pytest.mark.parametrize("name", BASES)
def test_the_primary_loss_trains_no_part_of_another_group(name: str) -> None:
    detector = tiny_detector(name).train()
    primary = [each for each in predictions_of(detector) if each.group.name == "primary"]
    assert (Stage.ENCODER in {each.stage for each in primary}) == (name in TWO_STAGE)
    sum(each.logits.sum() + each.boxes.sum() for each in primary).backward()
    reached = {key for key, value in detector.named_parameters() if value.grad is not None and value.grad.any()}
    assert "selection.content.weight" in reached
    assert not [key for key in reached if key.startswith(("selection.extra_", "denoising."))]


def test_denoising_may_live_in_the_primary_group_alone() -> None:
    config = tiny_config("group_dino")
    config.denoising = tiny_config("dino").denoising
    detector = instantiate(config)
    predictions = predictions_of(detector)
    hosts = {
        each.group.visible_groups: each.group.loss_divisor for each in predictions if each.group.role is Role.DENOISING
    }
    assert hosts == {("primary",): detector.denoising.groups_for(3)}
    assert sum(losses_of(detector, make_inputs(SIZES, [2, 0])).values()).isfinite()


@pytest.mark.parametrize("source", ["shared", "ranked"])
@pytest.mark.parametrize("name", TWO_STAGE)
def test_groups_from_one_set_of_proposals(name: str, source: str) -> None:
    detector = tiny_detector(name, selection__source=source)
    assert not detector.selection.extra_proposals
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


def test_every_group_has_noise_of_its_own_that_the_image_decides() -> None:
    denoising = tiny_detector("group_dino").denoising
    assert isinstance(denoising, GroupedDenoising)
    targets = make_targets([3, 2])
    first, again = denoising(targets), denoising(targets)
    assert all(torch.equal(one.boxes, two.boxes) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0].boxes, first[1].boxes)
    assert not torch.equal(first[1].boxes, first[2].boxes)
    (plain,) = denoising.members[0](targets)
    assert torch.equal(first[0].boxes, plain.boxes)
    swapped = denoising(replace(targets, **{key: getattr(targets, key)[::-1] for key in ("labels", "boxes", "seeds")}))
    for one, two in zip(first, swapped, strict=True):
        assert torch.equal(one.boxes, two.boxes.flip(0))
    unseeded = denoising(replace(targets, seeds=(None, None)))
    assert not torch.equal(unseeded[0].boxes, unseeded[1].boxes)
    assert [each.group.visible_groups for each in first] == [(group_name(number),) for number in range(3)]
    assert {each.group.loss_divisor for each in first} == {3 * plain.group.loss_divisor}
    assert len({each.group.name for each in first}) == 3


def test_seeds_of_groups() -> None:
    assert group_seeds([5, None], 0) == (5, None)
    found = {group_seeds([seed], number)[0] for seed in (-1, 0, 1, 2**63) for number in range(11)}
    assert len(found) == 44
    assert group_seeds([7], 4) == group_seeds([7], 4)


def test_more_groups_than_the_images_have_tokens_for() -> None:
    detector = tiny_detector("group_dino", selection__source="ranked", selection__num_queries=150)
    with pytest.raises(ValueError, match="fewer than the 450 queries to select"):
        losses_of(detector, make_inputs([(96, 128)], [1]))


@pytest.mark.parametrize(
    ("key", "value", "message"), [("num_groups", 0, "found 0"), ("source", "best", "found 'best'")]
)
def test_arguments_out_of_range(key: str, value: object, message: str) -> None:
    config = tiny_config("group_deformable_detr_pp")
    config.selection[key] = value
    with pytest.raises(ValueError, match=message):
        instantiate(config)
