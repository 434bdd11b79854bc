"""Masks on every kind of detector: a head of either kind trains, detects, and leaves the boxes alone."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor

from querydet.config import get_config
from querydet.modeling.detector import QueryDetector
from querydet.modeling.masks import PointMaskCost
from querydet.traits import trait
from tests.models import make_inputs, make_small

SIZES = [(96, 128), (80, 64)]
KINDS = ("dot_product", "attention_map")


def config_with_masks(name: str, kind: str, rules: Sequence[str] = ("decoder",), **options: Any) -> DictConfig:
    """A tiny composition with masks, whose losses are added to the named rules."""
    model = get_config(f"common/models/{name}.py").model
    mask = get_config(f"common/models/masks/{kind}.py")
    model.masks = mask.masks
    for rule in rules:
        model.criterion.rules[rule].losses.update(mask.losses)
    make_small(model)
    for key, value in options.items():
        model.masks[key] = value
    return model


def without_masks(model: DictConfig) -> DictConfig:
    plain = model.copy()
    plain.masks = None
    for rule in plain.criterion.rules.values():
        for term in ("mask", "dice"):
            rule.losses.pop(term, None)
        if "mask_cost" in rule.assigner:
            rule.assigner.mask_cost = None
    return plain


def noisy(config: DictConfig) -> QueryDetector:
    torch.manual_seed(0)
    detector = instantiate(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return detector


def dino_matching_by_masks() -> DictConfig:
    """Matching reads boxes and masks."""
    config = config_with_masks("dino", "dot_product", groups="all", layers="all")
    config.criterion.rules.decoder.assigner.mask_cost = L(PointMaskCost)(num_points=40)
    return config


BRANCHES = ["one_to_one", "one_to_many"]
ROLES = ["matching", "denoising"]
BASES = (
    "deformable_detr",
    "deformable_detr_one_stage",
    "deformable_detr_pp",
    "dino",
    "dn_detr",
    "dab_deformable_detr",
    "group_dino",
    "h_detr",
    "ms_detr",
    "ms_h_detr",
    "deta",
    "deta_baseline",
    "deta_detr",
    "detr",
    "dab_detr",
    "dn_dab_detr",
    "conditional_detr",
    "dn_deformable_encoder",
    "align_detr",
    "dac_detr",
)
CASES: dict[str, Any] = {
    **{
        f"{name} {kind}": (lambda name=name, kind=kind: config_with_masks(name, kind))
        for name in BASES
        for kind in KINDS
    },
    "dino, by masks": dino_matching_by_masks,
}
for _kind in KINDS:
    CASES |= {
        f"{name} of all {_kind}": (
            lambda name=name, kind=_kind: config_with_masks(name, kind, groups="all", layers="all")
        )
        for name in ("group_dino", "group_detr", "h_detr", "ms_group_detr")
    }
    CASES |= {
        f"{name} of both branches {_kind}": (
            lambda name=name, kind=_kind: config_with_masks(name, kind, ["decoder", "one_to_many"], branches=BRANCHES)
        )
        for name in ("ms_detr", "ms_dino", "ms_align_detr")
    }
    CASES |= {
        f"{name} with denoising {_kind}": (
            lambda name=name, kind=_kind: config_with_masks(name, kind, ["decoder", "denoising"], roles=ROLES)
        )
        for name in ("dino", "dn_detr", "group_dino")
    }
    CASES[f"dac_detr of the second stream {_kind}"] = lambda kind=_kind: config_with_masks(
        "dac_detr", kind, ["decoder", "second_stream"], branches=["one_to_one", "second_stream"]
    )


def losses_of(detector: QueryDetector, counts: Sequence[int] = (3, 2)) -> dict[str, Tensor]:
    torch.manual_seed(1)
    losses = detector.train()(make_inputs(SIZES, list(counts)))
    assert isinstance(losses, dict)
    return losses


def total_of(detector: QueryDetector) -> Tensor:
    return torch.stack(list(losses_of(detector, (3, 0)).values())).sum()


def untrained(detector: QueryDetector) -> list[str]:
    """Weights without a gradient; the tiny backbone has maps that nobody reads."""
    read = {*detector.neck.in_channels, *detector.masks.head.in_channels}
    unread = tuple(f"backbone.mix.{name}." for name in detector.backbone.channels if name not in read)
    names = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    return [name for name in names if not name.startswith(unread)]


QUICK = (
    "deformable_detr_one_stage dot_product",
    "deformable_detr_pp attention_map",
    "dino, by masks",
    "deta dot_product",
    "deta attention_map",
    "dab_detr attention_map",
    "group_dino of all dot_product",
    "h_detr dot_product",
    "ms_detr of both branches attention_map",
    "ms_align_detr of both branches dot_product",
    "dn_detr with denoising dot_product",
)


@pytest.fixture(params=[pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES])
def config(request: pytest.FixtureRequest) -> DictConfig:
    return CASES[request.param]()


def test_a_step_lowers_the_loss_and_trains_every_weight(config: DictConfig) -> None:
    detector = noisy(config).double().train()
    first = total_of(detector)
    first.backward()
    weights = [parameter for parameter in detector.parameters() if parameter.grad is not None]
    steepness = sum(parameter.grad.square().sum() for parameter in weights)
    with torch.no_grad():  # so short a step that no query is matched or selected otherwise
        for parameter in weights:
            parameter -= 1e-6 * first / steepness * parameter.grad
        assert total_of(detector) < first
    assert not untrained(detector)
    assert all(parameter.grad.any() for name, parameter in detector.masks.named_parameters() if "conv.bias" not in name)


@torch.no_grad()
def test_detections_have_masks_of_the_size_of_their_image(config: DictConfig) -> None:
    inputs = make_inputs(SIZES)
    inputs[1] |= {"height": 33, "width": 51}
    for found, size in zip(noisy(config).eval()(inputs), [(96, 128), (33, 51)], strict=True):
        instances = found["instances"]
        assert len(instances) > 0
        assert instances.pred_masks.shape == (len(instances), *size)
        assert instances.pred_masks.dtype is torch.bool
        assert set(instances.get_fields()) == {"pred_boxes", "scores", "pred_classes", "pred_masks"}


def test_without_the_branch_boxes_and_their_losses_are_the_same_bit_for_bit(config: DictConfig) -> None:
    with_masks, plain = noisy(config), instantiate(without_masks(config))
    unused = plain.load_state_dict(with_masks.state_dict(), strict=False)
    assert not unused.missing_keys
    assert all(key.startswith("masks.") for key in unused.unexpected_keys)
    matching_by_masks = any(trait(rule.assigner, "reads_masks") for rule in with_masks.criterion.rules.values())
    found, wanted = losses_of(with_masks), losses_of(plain)
    added = set(found) - set(wanted)
    assert added
    assert all(name.startswith(("loss_mask", "loss_dice")) for name in added)
    if not matching_by_masks:
        assert all(torch.equal(found[name], value) for name, value in wanted.items())
    with torch.no_grad():
        outputs = zip(with_masks.eval()(make_inputs(SIZES)), plain.eval()(make_inputs(SIZES)), strict=True)
        for one, other in outputs:
            for name, value in other["instances"].get_fields().items():
                same = one["instances"].get(name)
                assert torch.equal(getattr(same, "tensor", same), getattr(value, "tensor", value)), name


@pytest.mark.parametrize("counts", [(0, 0), (0, 2), (20, 1)])
def test_no_objects_and_more_objects_than_queries(config: DictConfig, counts: tuple[int, int]) -> None:
    detector = noisy(config)
    losses = losses_of(detector, counts)
    assert all(value.isfinite() for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert not untrained(detector)
    if not any(counts):
        of_masks = [value for name, value in losses.items() if name.startswith(("loss_mask", "loss_dice"))]
        assert of_masks
        assert not any(value.item() for value in of_masks)
