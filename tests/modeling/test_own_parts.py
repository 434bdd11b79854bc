"""A part of a user's own in every slot builds, trains, saves, loads and infers; one among ours, and all together."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig

from querydet.checkpoint import Checkpointer
from querydet.engine.accumulation import count_objects
from querydet.modeling.selection import GroupedSelection
from querydet.traits import TRAITS, trait
from tests import own_parts
from tests.models import make_inputs, tiny_config

DIM, CLASSES, QUERIES = 32, 5, 12


def own_neck(config: DictConfig) -> None:
    config.neck = L(own_parts.OwnNeck)(in_channels=config.neck.in_channels, embed_dim=DIM)


def own_encoder(config: DictConfig) -> None:
    config.encoder = L(own_parts.OwnEncoder)(embed_dim=DIM)


def own_selection(config: DictConfig) -> None:
    config.selection = L(own_parts.OwnSelection)(num_queries=QUERIES, embed_dim=DIM)
    config.criterion.rules.pop("encoder", None)


def own_denoising(config: DictConfig) -> None:
    config.denoising = L(own_parts.OwnDenoising)(num_classes=CLASSES, embed_dim=DIM)


def own_decoder(config: DictConfig) -> None:
    config.decoder = L(own_parts.OwnDecoder)(embed_dim=DIM, num_layers=2)


def own_heads(config: DictConfig) -> None:
    config.heads = L(own_parts.OwnHeads)(num_classes=CLASSES, num_layers=2, embed_dim=DIM)


def own_mask_head(config: DictConfig) -> None:
    config.masks.head = L(own_parts.OwnMaskHead)(in_channels={"res3": 8}, embed_dim=DIM)


def own_assigner(config: DictConfig) -> None:
    config.criterion.rules.decoder.assigner = L(own_parts.OwnAssigner)()


def own_batched_assigner(config: DictConfig) -> None:
    config.criterion.rules.decoder.assigner = L(own_parts.OwnBatchedAssigner)()


def own_loss(config: DictConfig) -> None:
    for rule in config.criterion.rules.values():
        rule.losses.smooth = L(own_parts.OwnLoss)(weight=3.0)


def own_normalizer(config: DictConfig) -> None:
    config.criterion.rules.decoder.normalizer = L(own_parts.OwnNormalizer)()


def own_criterion(config: DictConfig) -> None:
    config.criterion = L(own_parts.OwnCriterion)()


def own_postprocess(config: DictConfig) -> None:
    config.postprocess = L(own_parts.OwnPostprocess)()


def all_own(config: DictConfig) -> None:
    for change in (own_neck, own_encoder, own_selection, own_denoising, own_decoder, own_heads, own_loss):
        change(config)
    for change in (own_assigner, own_normalizer, own_postprocess):
        change(config)


SLOTS: dict[Callable[[DictConfig], None], str] = {
    own_neck: "detr",
    own_encoder: "dino",
    own_selection: "deformable_detr",
    own_denoising: "deformable_detr",
    own_decoder: "deformable_detr_one_stage",
    own_heads: "deformable_detr",
    own_mask_head: "dino_masks",
    own_assigner: "dino",
    own_batched_assigner: "dino",
    own_loss: "dino",
    own_normalizer: "dino",
    own_criterion: "dino",
    own_postprocess: "dino",
    all_own: "dino",
}


def config_with(change: Callable[[DictConfig], None]) -> DictConfig:
    config = tiny_config(SLOTS[change])
    config._target_ = "querydet.modeling.detector.QueryDetector"
    change(config)
    rules = config.criterion.get("rules", {"denoising": None})
    if config.denoising is not None and "denoising" not in rules:
        config.criterion.rules.denoising = {
            **tiny_config("dino").criterion.rules.denoising,
            "losses": config.criterion.rules.decoder.losses,
        }
    return config


@pytest.mark.parametrize("change", SLOTS, ids=lambda change: change.__name__)
def test_a_part_written_from_the_protocol_builds_trains_saves_loads_and_infers(
    change: Callable[[DictConfig], None], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = config_with(change)
    detector = instantiate(config).train()
    batch = make_inputs([(96, 128), (80, 64)], [3, 1])
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-2)
    losses = detector(batch, count_objects(batch))
    assert losses
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert any(not torch.equal(value, before[name]) for name, value in detector.state_dict().items())

    Checkpointer(detector, str(tmp_path)).save("model")
    again = instantiate(config)
    Checkpointer(again, str(tmp_path)).load(str(tmp_path / "model.pth"))
    with torch.no_grad():
        found, repeated = (model.eval()(make_inputs([(96, 128), (80, 64)])) for model in (detector, again))
    for one, other in zip(found, repeated, strict=True):
        assert len(one["instances"]) > 0
        assert torch.equal(one["instances"].pred_boxes.tensor, other["instances"].pred_boxes.tensor)
        assert one["instances"].has("pred_masks") == (config.get("masks") is not None)


def test_own_parts_inherit_from_none_of_ours() -> None:
    for name in (name for name in vars(own_parts) if name.startswith("Own")):
        bases = getattr(own_parts, name).__mro__[1:]
        assert not [base for base in bases if base.__module__.startswith("querydet")], name


def test_an_own_loss_is_named_by_its_key() -> None:
    losses = instantiate(config_with(own_loss)).train()(make_inputs([(96, 128)], [2]))
    assert {"loss_smooth", "loss_smooth_0", "loss_smooth_enc", "loss_smooth_dn"} <= set(losses)


def test_an_own_selection_can_be_grouped() -> None:
    torch.manual_seed(0)
    config = config_with(own_selection)
    config.selection = L(GroupedSelection)(selection=config.selection, num_groups=3)
    detector = instantiate(config).train()
    names = set(detector.state_dict())
    assert {
        "selection.score.weight",
        "selection.extra_groups.0.score.weight",
        "selection.extra_groups.1.box.bias",
    } <= names
    batch = make_inputs([(96, 128), (80, 64)], [3, 1])
    sum(detector(batch).values()).backward()
    assert detector.selection.extra_groups[0].embed.weight.grad.any()
    assert not torch.equal(detector.selection.extra_groups[0].score.weight, detector.selection.score.weight)
    plain = config_with(own_selection)
    alone = instantiate(plain)
    alone.load_state_dict({key: value for key, value in detector.state_dict().items() if ".extra_groups." not in key})
    with torch.no_grad():
        (grouped,), (single,) = detector.eval()(batch[:1]), alone.eval()(batch[:1])
    assert torch.equal(grouped["instances"].scores, single["instances"].scores)


def test_a_postprocess_that_says_that_it_suppresses_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    config = config_with(own_postprocess)
    config.postprocess = L(Suppressing)()
    instantiate(config)
    assert "trained one to one (HungarianAssigner)" in caplog.text
    assert "model.postprocess=Suppressing" in caplog.text


def test_own_parts_that_do_not_fit_are_refused_by_their_traits() -> None:
    config = config_with(own_encoder)
    config.encoder = L(TwoLevels)(embed_dim=DIM)
    with pytest.raises(ValueError, match="the neck makes 4 levels, but the encoder attends to 2"):
        instantiate(config)
    config = config_with(own_selection)
    config.selection = L(own_parts.OwnSelection)(num_queries=QUERIES, embed_dim=DIM)
    config.decoder.query_position = tiny_config("dino").decoder.query_position
    with pytest.raises(ValueError, match="the queries would have two positions"):
        instantiate(config)


class Suppressing(own_parts.OwnPostprocess):
    suppresses = True


class TwoLevels(own_parts.OwnEncoder):
    num_levels = 2


def test_a_trait_that_a_part_does_not_declare_has_its_default() -> None:
    part = object()
    assert {name: trait(part, name) for name in TRAITS} == {name: TRAITS[name].default for name in TRAITS}
    with pytest.raises(KeyError):
        trait(part, "embed_dmi")
