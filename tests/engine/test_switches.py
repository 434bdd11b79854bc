"""Activation checkpointing and compilation compute the same."""

import copy
import itertools

import pytest
import torch
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

from querydet.engine.switches import apply_switches, blocks, checkpoint_activations, compile_parts
from tests.models import make_inputs, tiny_detector

PARTS = ["backbone", "encoder", "decoder"]


def detector(dropout=0.0):
    """A tiny DINO on a small residual network whose stem and first stage are frozen."""
    parts = {f"{part}__layer__dropout": dropout for part in ("encoder", "decoder")}
    found = tiny_detector("dino", **parts)
    torch.manual_seed(0)
    widths, stages = (8, 4, 8, 16, 32), []
    for before, width in itertools.pairwise(widths):
        block = {"block_class": BasicBlock, "num_blocks": 2, "stride_per_block": [2 if stages else 1, 1]}
        stages.append(ResNet.make_stage(**block, in_channels=before, out_channels=width, norm="FrozenBN"))
    found.backbone = ResNet(BasicStem(3, 8, norm="FrozenBN"), stages, out_features=["res3", "res4", "res5"]).freeze(2)
    return found.train()


def step(model):
    """Losses, gradients and the bytes that were kept for the backward pass."""
    torch.manual_seed(0)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
        losses = model(make_inputs([(64, 96), (96, 64)], [3, 1]))
    sum(losses.values()).backward()
    return losses, {key: p.grad for key, p in model.named_parameters() if p.requires_grad}, sum(kept.values())


def assert_equal(left, right, rtol=0.0, atol=0.0):
    for found, wanted in zip(left[:2], right[:2], strict=True):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(
                found[key], value, rtol=rtol, atol=atol, msg=lambda text, key=key: f"{key}: {text}"
            )


@pytest.mark.parametrize("parts", [["backbone"], ["encoder"], ["decoder"], PARTS])
def test_activation_checkpointing_changes_nothing_but_memory(parts):
    plain = detector(dropout=0.1)
    recomputed = copy.deepcopy(plain)
    checkpoint_activations(recomputed, parts)
    assert recomputed.state_dict().keys() == plain.state_dict().keys()
    wanted, found = step(plain), step(recomputed)
    assert_equal(found, wanted)
    assert found[2] < (0.5 if parts == PARTS else 0.97) * wanted[2]


def test_blocks_of_a_resnet_are_its_residual_blocks():
    assert {type(block).__name__ for block in blocks(detector().backbone)} == {"BasicBlock"}
    assert len(blocks(detector().backbone)) == 8


@pytest.mark.parametrize("option", ["activation_checkpointing=[encodr]", "compile.parts=[encodr]"])
def test_a_part_that_does_not_exist_is_refused(toy_config, option):
    cfg = toy_config(f"train.{option}")
    with pytest.raises(ValueError, match=r"names 'encodr', but the model's parts are backbone, neck, encoder"):
        apply_switches(tiny_detector("dino"), cfg.train)


def test_a_run_that_compiles_nothing_does_not_load_the_compiler(monkeypatch):
    monkeypatch.setattr(torch.compiler, "list_backends", None)
    compile_parts(torch.nn.Sequential(), [])


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match=r"train.compile.backend has to be one of .*inductor.*, got 'induktor'"):
        compile_parts(tiny_detector("dino"), ["encoder"], "induktor")


# Not the backbone with inductor: on the CPU, torch 2.14 aborts in the backward pass of a small convolution.
COMPILED = [(part, "aot_eager") for part in PARTS] + [(part, "inductor") for part in PARTS[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "backend"), COMPILED)
def test_compiled_parts_compute_the_same(part, backend):
    plain = detector()
    compiled = copy.deepcopy(plain)
    compile_parts(compiled, [part], backend)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert_equal(step(compiled), step(plain), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_images_of_many_sizes_compile_a_bounded_number_of_times():
    torch._dynamo.reset()
    compiled = detector()
    compile_parts(compiled, ["encoder", "decoder"], "eager", dynamic=True)
    counted = []
    for sizes in ([(64, 96)], [(96, 64), (64, 64)], [(128, 96)], [(96, 128), (160, 96)], [(64, 160)], [(160, 128)]):
        sum(compiled(make_inputs(sizes, [2] * len(sizes))).values()).backward()
        counted.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert counted[-1] == counted[3], counted  # nothing new after one and several images of two sizes
