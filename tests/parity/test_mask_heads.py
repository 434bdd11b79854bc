"""DETR's mask head computes what its official modules recorded: masks, detections, losses and gradients."""

import copy
import re
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor

from querydet.config import get_config
from querydet.mask_structures import ImageMasks
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.masks import AttentionMapHead, DiceLoss, FocalMaskLoss, MaskBranch, PasteMasks
from querydet.modeling.masks.points import SeededDraws
from querydet.modeling.postprocess import TopKPostprocess
from querydet.structures import Assignment
from tests.parity.fixture import Fixture, recordings
from tests.parity.models_mask2former import detections_by_pair, near_threshold, with_masks
from tests.parity.models_mask_head import Inputs, build, last_layer, masks_of, our_name
from tests.parity.models_ms_detr import replay_caps
from tests.parity.test_parity import FORWARD, GRADIENT, TARGETS, assert_close, sorted_pairs

NAMES = recordings("mask_head")
pytestmark = pytest.mark.skipif(not NAMES, reason="no fixture of a mask head in QUERYDET_PARITY_DIR")
BRANCHES = {"": "", "o2m/": "_o2m"}  # where inputs are recorded, and the end of the names of losses


@cache
def load(name: str) -> Fixture:
    return Fixture.load(name)


@pytest.fixture(params=NAMES)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return load(request.param)


@pytest.fixture(params=TARGETS)
def which(request: pytest.FixtureRequest, fixture: Fixture) -> str:
    if f"train{request.param}/total" not in fixture:
        pytest.skip(f"{fixture.name} has no target set {request.param}")
    return request.param


def branches(fixture: Fixture) -> list[str]:
    return [branch for branch in BRANCHES if f"in/{branch}hidden" in fixture]


@torch.no_grad()
def test_masks(fixture: Fixture) -> None:
    masks = masks_of(build(fixture), fixture, Inputs.of(fixture))
    for branch in branches(fixture):
        hidden, wanted = fixture[f"in/{branch}hidden"], fixture[f"eval/{branch}pred_masks"]
        assert_close(masks.of_batch(hidden), wanted, FORWARD, "all queries")
        for image in range(len(hidden)):
            some = torch.tensor([3, 0, hidden.shape[1] - 1])
            assert_close(masks.of_image(image, hidden[image, some]), wanted[image, some], FORWARD, "some queries")
    if "eval/from_memory/pred_masks" in fixture:
        encoded = masks_of(build(fixture, "encoded"), fixture, Inputs.of(fixture))
        assert_close(encoded.of_batch(fixture["in/hidden"]), fixture["eval/from_memory/pred_masks"], FORWARD, "encoded")


@torch.no_grad()
def test_attention_maps_and_halved_maps(fixture: Fixture) -> None:
    head = build(fixture)
    maps = head.attention(fixture["in/hidden"], fixture["in/memory"], fixture["in/padding"])
    assert_close(maps, fixture["eval/mid/bbox_attention"], FORWARD, "attention maps")
    coarse_first = list(reversed(fixture.features().values()))
    halved = fixture.group("eval/mid/seg_input_proj/")
    assert len(halved) in (0, len(head.halvings))
    for index, wanted in halved.items():
        assert_close(head.halvings[int(index)](coarse_first[int(index)]), wanted, FORWARD, index)


@torch.no_grad()
def test_detections(fixture: Fixture) -> None:
    head = build(fixture)
    last = last_layer(fixture, masks_of(head, fixture, Inputs.of(fixture)))
    images, originals = ([tuple(size) for size in fixture[f"in/{name}"].tolist()] for name in ("sizes", "orig_sizes"))
    best = TopKPostprocess(num_detections=fixture.config["topk_eval"], clip=False)(last.logits, last.boxes, originals)
    branch = MaskBranch(head=head, paste=PasteMasks(resize="nearest"))
    flipped = 0
    for image, found in enumerate(branch.add_masks(best, last, images)):
        recorded = fixture.group(f"eval/post/{image}/")
        ours = detections_by_pair(found.pred_classes, found.query_indices)
        theirs = detections_by_pair(recorded["labels"], recorded["queries"])
        assert set(ours) == set(theirs)
        order = torch.tensor([ours[pair] for pair in theirs])
        assert_close(found.scores[order], recorded["scores"], FORWARD, "scores")
        assert_close(found.pred_boxes.tensor[order], recorded["boxes"], FORWARD, "boxes")
        flipped += int((found.pred_masks[order] != recorded["masks"]).sum())
    assert flipped <= near_threshold(fixture, 0)


def test_matching_does_not_look_at_masks(fixture: Fixture, which: str) -> None:
    rules = get_config("common/models/ms_mask_deformable_detr.py").model.criterion.rules
    names = {"": ("decoder", "final"), "o2m/": ("one_to_many", "o2m_final")}
    targets = with_masks(fixture, which, no_draws(fixture))
    for branch in branches(fixture):
        rule, where = names[branch]
        assigner = instantiate(rules[rule].assigner)
        criterion = SimpleNamespace(rules={rule: SimpleNamespace(assigner=assigner)})
        replay_caps(fixture, SimpleNamespace(criterion=criterion), which)  # type: ignore[arg-type]
        for image, found in enumerate(assigner(last_layer(fixture, branch=branch), targets)):
            recorded = fixture[f"train{which}/match/{where}/{image}"]
            assert sorted_pairs(found) == sorted(map(tuple, recorded.T.tolist())), (where, image)


def no_draws(fixture: Fixture) -> SeededDraws:
    """Points, which no part of this head reads."""
    return SeededDraws([None] * len(fixture["in/pad_mask"]), torch.device("cpu"))


def losses_of(fixture: Fixture, which: str, masks: ImageMasks, branch: str, hidden: Tensor) -> dict[str, Tensor]:
    """Losses of a branch for the recorded matches, by the recorded names."""
    weights = fixture.description["loss_weights"]
    rule = SupervisionRule(
        stage="decoder",
        assigner=None,  # type: ignore[arg-type]
        losses={"mask": FocalMaskLoss(weight=weights["loss_mask"]), "dice": DiceLoss(weight=weights["loss_dice"])},
    )
    targets = with_masks(fixture, which, no_draws(fixture))
    where = f"train{which}/match/{branch.replace('/', '_')}final/"
    matches = [Assignment(*fixture[f"{where}{image}"]) for image in range(len(targets.labels))]
    found = rule([last_layer(fixture, masks, branch, hidden)], targets, [tuple(matches)])
    return {name + BRANCHES[branch]: value for name, value in found.items()}


def trained(fixture: Fixture, which: str) -> tuple[AttentionMapHead, Inputs, dict[str, Tensor]]:
    """A recorded training pass: the head, its inputs with gradients, and the losses of all branches."""
    head, inputs = build(fixture), Inputs.of(fixture, leaves=True)
    masks = masks_of(head, fixture, inputs)
    losses: dict[str, Tensor] = {}
    for branch in branches(fixture):
        hidden = fixture[f"in/{branch}hidden"] if branch else inputs.hidden
        losses |= losses_of(fixture, which, masks, branch, hidden)
    return head, inputs, losses


def test_losses(fixture: Fixture, which: str) -> None:
    weights = fixture.description["loss_weights"]
    _, _, losses = trained(fixture, which)
    recorded = fixture.group(f"train{which}/loss/")
    assert set(losses) == set(recorded)
    for name, value in losses.items():
        wanted = recorded[name].item() * weights[name.removesuffix("_o2m")]
        assert abs(value.item() - wanted) <= FORWARD * max(abs(wanted), 1e-2), name
    for name, total in (("total", of_primary(losses)), ("with_o2m/total", list(losses.values()))):
        if f"train{which}/{name}" in fixture:
            wanted = fixture[f"train{which}/{name}"].item()
            assert abs(sum(total).item() - wanted) <= FORWARD * max(abs(wanted), 1e-2), name


def of_primary(losses: dict[str, Tensor]) -> list[Tensor]:
    return [value for name, value in losses.items() if not name.endswith("_o2m")]


def test_gradients(fixture: Fixture, which: str) -> None:
    head, inputs, losses = trained(fixture, which)
    sum(of_primary(losses)).backward(retain_graph=True)
    parameters = dict(head.named_parameters())
    assert [name for name, value in parameters.items() if value.grad is None] == []
    recorded = {f"weights of {name}": value for name, value in fixture.group(f"train{which}/grad/").items()}
    found = {name: parameters[our_name(name.removeprefix("weights of "))].grad for name in recorded}
    for name, value in fixture.group(f"train{which}/grad_in/").items():
        recorded[name], found[name] = value, inputs.gradient(name)
    for level, value in fixture.group(f"train{which}/grad_feat/").items():
        recorded[f"map{level}"], found[f"map{level}"] = value, inputs.maps[f"map{level}"].grad
    for name, wanted in recorded.items():
        assert_close(found[name], wanted, GRADIENT, name)
    assert_norms(fixture, f"train{which}/grad_norms", parameters)
    if f"train{which}/with_o2m/grad_norms" in fixture:
        head.zero_grad()
        sum(losses.values()).backward()
        assert_norms(fixture, f"train{which}/with_o2m/grad_norms", parameters)


def assert_norms(fixture: Fixture, key: str, parameters: dict[str, torch.nn.Parameter]) -> None:
    norms = fixture[key]
    for name, wanted in zip(fixture.description["grad_norm_names"], norms.tolist(), strict=True):
        norm = parameters[our_name(name)].grad.norm().item()
        assert abs(norm - wanted) <= GRADIENT * wanted + 1e-5 * norms.max().item(), (name, norm, wanted)


RECORDED = re.compile(
    r"(in|state|feat|feat_mask|tgt[ABC])/.+"
    r"|eval/((o2m/|from_memory/)?pred_masks|mid/bbox_attention|mid/seg_input_proj/\d+)"
    r"|eval/post/\d+/(boxes|labels|masks|queries|scores)"
    r"|train[ABC]/((with_o2m/)?(total|grad_norms)|(grad|grad_in|grad_feat|rng)/.+)"
    r"|train[ABC]/(loss/loss_(mask|dice)(_o2m)?|match/(o2m_)?final/\d+)"
)


def test_every_recorded_tensor_has_a_meaning(fixture: Fixture) -> None:
    assert [name for name in fixture.tensors if not RECORDED.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("config", "an_option_of_mine", 3),
        ("fixture_cfg", "an_option_of_mine", 3),
        ("config", "wiring", "my_wiring"),
        ("config", "src_stride", 7),
    ],
)
def test_an_option_that_nothing_reads_is_an_error(fixture: Fixture, where: str, key: str, value: object) -> None:
    description = copy.deepcopy(fixture.description)
    description[where] = {**(description.get(where) or {}), key: value}
    with pytest.raises(KeyError, match=r"an_option_of_mine|my_wiring|stride 7"):
        build(Fixture(fixture.name, description, fixture.tensors))
