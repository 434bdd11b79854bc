"""Frozen parts: what training leaves as it is, in the weights, the mode, the norm, the memory and the checkpoints."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor, nn

from querydet.config import load_config, save_config
from querydet.engine import train
from querydet.engine.freezing import freeze_parts
from querydet.engine.hooks.averaging import build_ema
from querydet.engine.run.changes import changes
from querydet.engine.solver import build_adamw, parameter_groups
from tests.engine.conftest import DINO_CONFIG
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics, single_thread
from tests.engine.two_processes import in_two_processes
from tests.models import COMPOSITIONS, make_inputs, make_small, tiny_detector

PREFIX = ["backbone", "neck", "encoder"]
FEW = ["train.max_iter=3", "train.log_period=1", "train.checkpointer.period=1it", "optimizer.lr=0.001"]
EVERY = ["backbone", "neck", "encoder", "selection", "decoder", "heads"]


def detector(*parts: str, dropout: float = 0.5) -> nn.Module:
    model = tiny_detector("dino", encoder__layer__dropout=dropout, decoder__layer__dropout=dropout)
    freeze_parts(model, parts)
    return model.train()


def step(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    losses = model(make_inputs([(64, 96), (96, 64)], [3, 1]))
    sum(losses.values()).backward()
    return losses


@pytest.mark.parametrize("parts", [PREFIX, ["backbone"], ["encoder"], ["decoder"], ["heads", "selection"], EVERY[1:]])
def test_frozen_weights_are_equal_bit_by_bit_after_steps_and_all_others_move(parts: list[str]) -> None:
    model = detector(*parts)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_adamw(model, lr=0.01)
    for seed in range(3):
        step(model, seed)
        optimizer.step()
        optimizer.zero_grad()
    parameters = dict(model.named_parameters())
    for name, value in model.state_dict().items():
        frozen = name.partition(".")[0] in parts
        assert torch.equal(value, before[name]) == (frozen or name not in parameters), name
        assert not frozen or name not in parameters or parameters[name].grad is None


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_every_method_trains_with_a_frozen_prefix(name: str) -> None:
    model = tiny_detector(name)
    freeze_parts(model, PREFIX)
    losses = step(model.train())
    assert all(value.isfinite() for value in losses.values())
    trained = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {key for key in dict(model.named_parameters()) if key.partition(".")[0] not in PREFIX}


def test_frozen_parts_stay_in_evaluation_mode_and_others_do_not() -> None:
    model = detector("encoder")
    for mode in (True, False, True):
        model.train(mode)
        assert not any(module.training for module in model.encoder.modules())
        assert all(module.training == mode for module in model.decoder.modules())
        model.eval()
        model.encoder.train()
        assert not any(module.training for module in model.encoder.modules())


def test_frozen_features_are_the_same_in_every_step() -> None:
    seen: dict[bool, list[Tensor]] = {}
    for frozen in (True, False):
        model = detector(*(PREFIX if frozen else []))
        tokens = seen.setdefault(frozen, [])
        model.encoder.register_forward_hook(lambda _, __, memory, tokens=tokens: tokens.append(memory.tokens))
        for seed in (0, 1):
            step(model, seed)
    assert torch.equal(*seen[True])
    assert not torch.equal(*seen[False])


def test_statistics_of_a_frozen_part_do_not_move() -> None:
    model = nn.ModuleDict({"backbone": nn.BatchNorm2d(3), "head": nn.BatchNorm2d(3)})
    freeze_parts(model, ["backbone"])
    model.train()
    for part in model.values():
        part(torch.randn(2, 3, 4, 4))
    assert torch.equal(model["backbone"].running_mean, torch.zeros(3))
    assert not torch.equal(model["head"].running_mean, torch.zeros(3))


def recording(parts: list[str]) -> set[str]:
    """The first parts of a detector with these frozen parts in which operators record gradients."""
    model, found = detector(*parts), set()

    def note(name: str) -> Any:
        return lambda *_: found.add(name) if torch.is_grad_enabled() else None

    for name in PREFIX:
        for module in list(getattr(model, name).modules())[1:]:
            module.register_forward_hook(note(name))
    step(model)
    return found


def test_the_frozen_beginning_records_no_gradients() -> None:
    assert recording(PREFIX) == set()
    assert recording(["backbone", "encoder", "heads"]) == {"neck", "encoder"}
    assert recording(["encoder"]) == recording([]) == set(PREFIX)


def test_a_frozen_part_behind_a_trained_one_passes_gradients_on() -> None:
    model = detector("encoder")
    step(model)
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())


def test_the_frozen_beginning_keeps_no_activations() -> None:
    def kept(model: nn.Module) -> int:
        found: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            found[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(make_inputs([(64, 96), (96, 64)], [3, 1]))
        return sum(found.values())

    assert kept(detector(*PREFIX)) < 0.7 * kept(detector())


def test_a_copy_of_a_frozen_model_is_frozen_by_itself() -> None:
    model = detector(*PREFIX)
    copied = copy.deepcopy(model)
    nn.init.zeros_(model.backbone.mix["res3"].weight)
    losses = step(copied.train())
    assert not copied.encoder.training
    assert copied.encoder.forward.args[0].__self__ is copied.encoder
    assert not torch.equal(losses["loss_class"], step(model)["loss_class"])


def test_the_average_of_frozen_weights_is_the_weights_bit_by_bit() -> None:
    model = tiny_detector("dino")
    ema = build_ema(model, 0.9)
    freeze_parts(model, PREFIX)
    optimizer = build_adamw(model.train(), lr=0.01)
    for seed in range(3):
        step(model, seed)
        optimizer.step()
        ema.update_parameters(model)
    average = ema.module.state_dict()
    for name, parameter in model.named_parameters():
        assert torch.equal(average[name], parameter) == (name.partition(".")[0] in PREFIX), name


def test_rules_of_learning_rates_that_match_frozen_parts_alone_are_no_error() -> None:
    model = detector(*PREFIX)
    groups = parameter_groups(model, 0.1, 0.0, {"backbone": 0.1, "sampling_offsets": 0.5})
    assert {group["name"] for group in groups} == {"sampling_offsets", "other"}
    with pytest.raises(ValueError, match="no parameter's name contains"):
        parameter_groups(model, 0.1, 0.0, {"backbon_": 0.1})


def test_parts_that_do_not_exist_are_refused_with_those_that_do(toy_config: Any) -> None:
    parts = "backbone, neck, encoder, selection, denoising, decoder, heads"
    with pytest.raises(ValueError, match=f"train.freeze names 'transformer', but the model's parts are {parts}"):
        train(toy_config("train.freeze=[backbone,transformer]", config=DINO_CONFIG))
    with pytest.raises(ValueError, match="no trainable parameter"):
        train(toy_config("train.freeze=[backbone,dropout,box_head,class_head]"))


def test_the_clipped_norm_is_that_of_the_trained_parts(toy_config: Any, tmp_path: Path) -> None:
    """With a frozen backbone, in front of which nothing is trained, gradients of the heads are those of a full run."""
    for folder, parts in (("whole", "[]"), ("frozen", "[backbone]")):
        train(toy_config("train.max_iter=1", "train.log_period=1", f"train.freeze={parts}", folder=folder))
    (whole,), (frozen,) = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "frozen")
    assert frozen["total_loss"] == whole["total_loss"]
    parts = [whole[f"grad_norm/{name}"] for name in ("box_head", "class_head")]
    assert frozen["grad_norm"] == pytest.approx(sum(norm**2 for norm in parts) ** 0.5, rel=1e-5)
    assert frozen["grad_norm"] < whole["grad_norm"]
    assert "grad_norm/backbone" not in frozen


def test_a_frozen_run_resumes_bit_by_bit(toy_config: Any, tmp_path: Path) -> None:
    options = ["train.freeze=[backbone,neck,encoder]", "train.max_iter=4", "train.log_period=1"]
    options += ["train.checkpointer.period=2it", "optimizer.lr=0.001", "model.encoder.layer.dropout=0.2"]
    with single_thread():
        train(toy_config(*options, folder="whole", config=DINO_CONFIG))
        train(toy_config(*options, "train.max_iter=2", folder="parts", config=DINO_CONFIG))
        train(toy_config(*options, folder="parts", config=DINO_CONFIG), resume=True)
    whole, parts = (read_checkpoint(tmp_path / folder / "model_final.pth") for folder in ("whole", "parts"))
    first = read_checkpoint(tmp_path / "whole" / "model_0000001.pth")
    assert_equal(whole["model"], parts["model"])
    assert_equal(whole["ema"], parts["ema"])
    assert_equal(whole["trainer"]["optimizer"], parts["trainer"]["optimizer"])
    for name, value in whole["model"].items():
        if name.partition(".")[0] in PREFIX:
            assert torch.equal(value, first["model"][name])


@pytest.mark.parametrize("allowed", [False, True])
def test_a_run_is_not_resumed_with_other_frozen_parts(toy_config: Any, tmp_path: Path, allowed: bool) -> None:
    train(cfg := toy_config("train.max_iter=1", "train.freeze=[backbone]"))
    save_config(cfg, str(tmp_path / "run" / "config.yaml"))
    assert changes(cfg) == []
    switch = f"train.allow_changed_config={allowed}"
    for parts, now in (("[]", "nothing"), ("[box_head,backbone]", "'backbone', 'box_head'")):
        with pytest.raises(ValueError, match=rf"freezes 'backbone', and train.freeze is {now} now: its optimizer"):
            changes(toy_config("train.max_iter=1", f"train.freeze={parts}", switch))


def gradients_of_a_process(rank: int) -> dict[str, float]:
    model = detector(*PREFIX, dropout=0.0)
    wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    wrapped.train()
    assert not model.encoder.training
    sum(wrapped(make_inputs([(64, 96)], [2 + rank])).values()).backward()
    assert all(parameter.grad is None for part in PREFIX for parameter in getattr(model, part).parameters())
    return {
        name: parameter.grad.double().sum().item()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def test_two_processes_train_the_other_parts_alike(tmp_path: Path) -> None:
    first, second = in_two_processes(gradients_of_a_process, tmp_path, start="forkserver")
    assert first == second
    assert {name.partition(".")[0] for name in first} == {"selection", "denoising", "decoder", "heads"}


@pytest.mark.parametrize(("row", "frozen", "groups"), [("a", True, 1), ("b", True, 11), ("c", False, 11)])
def test_recipes_of_table_1(row: str, frozen: bool, groups: int) -> None:
    cfg = load_config(f"projects/group_detr/configs/group_conditional_detr_r50_table1_{row}_50ep.py")
    assert cfg.train.init_parts == PREFIX
    assert cfg.train.freeze == (PREFIX if frozen else [])
    assert cfg.train.init_checkpoint == "output/conditional_detr_r50_50ep/model_final.pth"
    assert cfg.model.selection.get("num_groups", 1) == groups
    model = instantiate(make_small(cfg.model))
    freeze_parts(model, cfg.train.freeze)
    rates = {group["name"] for group in parameter_groups(model, 1.0, 0.0, cfg.optimizer.lr_factors)}
    assert rates == {"other"} | (set() if frozen else {"backbone"})
