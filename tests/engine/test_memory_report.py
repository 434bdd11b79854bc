"""What is said of dense attention's memory before the first step."""

import logging

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from querydet.analysis.attention_memory import attention_memory
from querydet.config import load_config
from querydet.data.augmentation import detr_train_augmentations
from querydet.engine import memory_report as module
from querydet.engine.memory_report import largest_batch, report_attention_memory
from querydet.engine.training import train
from tests.engine.conftest import ROOT
from tests.models import make_inputs, tiny_detector


class Records:
    """A data set of images of these sizes."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def record(self, index: int) -> dict[str, int]:
        return dict(zip(("height", "width"), self.sizes[index], strict=True))


def test_by_hand():
    """2 layers, 3 images, 4 heads, 5 x 7 tokens of stride 32, 12 queries in each of 3 groups; 4 bytes a number."""
    found = attention_memory(tiny_detector("group_dab_detr"), 160, 200, 3)
    assert (found.tokens, found.queries) == (35, 36)
    assert found.encoder == 2 * 3 * 4 * 35 * 35 * 4
    assert found.decoder == 2 * 3 * 4 * 36 * 35 * 4
    assert found.total == found.encoder + found.decoder
    recomputed = tiny_detector("group_dab_detr", encoder__activation_checkpointing=True)
    assert attention_memory(recomputed, 160, 200, 3).encoder == found.encoder / 2
    with pytest.raises(ValueError, match="must have a positive size, found height 0 and width 10"):
        attention_memory(tiny_detector("detr"), 0, 10, 1)


@pytest.mark.parametrize("name", ["detr", "group_conditional_detr"])
def test_the_plain_kernel_keeps_as_much(name):
    """Counted among what a step keeps for its backward pass."""
    detector = tiny_detector(name).train()
    found = attention_memory(detector, 160, 224, 2)
    maps = {(2, 4, found.tokens, found.tokens): 0, (2, 4, found.queries, found.tokens): 0}
    seen: set[int] = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in seen and tensor.dtype == torch.float32:
            seen.add(tensor.data_ptr())
            for shape in maps:
                if tensor.numel() == torch.Size(shape).numel() and tensor.shape[-1] == found.tokens:
                    maps[shape] += tensor.numel() * tensor.element_size()
        return tensor

    with sdpa_kernel(SDPBackend.MATH), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = detector(make_inputs([(160, 224)] * 2, [1, 2]))
    assert all(loss.requires_grad for loss in losses.values())
    encoder, decoder = maps.values()
    assert encoder >= found.encoder
    assert decoder >= found.decoder
    assert encoder + decoder <= 3 * found.total


def test_the_largest_batch_follows_the_augmentation():
    augmentations = detr_train_augmentations(short_sides=[480, 800], max_side=1333)
    assert largest_batch([(480, 640), (640, 480), (100, 1000)], augmentations) == (1066, 1330)
    assert largest_batch([(480, 640), (900, 20)], []) == (900, 640)


def test_the_estimate_is_logged_and_is_a_warning_where_it_does_not_fit(monkeypatch, caplog):
    detector = tiny_detector("detr")
    with caplog.at_level(logging.INFO, logger=module.__name__):
        text = report_attention_memory(detector, Records((320, 480), (1000, 640)), [], 4)
    assert "up to 1000x640 pixels have 640 tokens; the attention maps of a step with 4 of them" in text
    assert [each.levelname for each in caplog.records] == ["INFO"]
    monkeypatch.setattr(module, "device_memory", lambda device: 2**10)
    text = report_attention_memory(detector, Records((8000, 8000)), [], 4)
    assert "That is more than the 0 MiB of cpu. Lower max_side" in text
    assert caplog.records[-1].levelname == "WARNING"


@pytest.mark.parametrize("model", [tiny_detector("dino"), nn.Identity()])
def test_nothing_is_said_of_other_models(model, caplog):
    with caplog.at_level(logging.INFO, logger=module.__name__):
        assert report_attention_memory(model, Records((320, 480)), [], 4) == ""
    assert not caplog.records


def test_a_run_says_it_before_its_first_step(toy_data, tmp_path, caplog):
    overrides = [f"train.output_dir={tmp_path}", "train.max_iter=1", "dataloader.train.num_workers=0"]
    cfg = load_config(str(ROOT / "tests" / "engine" / "group_config.py"), overrides)
    with caplog.at_level(logging.INFO):
        train(cfg)
    said = [number for number, each in enumerate(caplog.records) if "Dense attention" in each.message]
    started = [number for number, each in enumerate(caplog.records) if "Starting training" in each.message]
    assert said
    assert started
    assert said[0] < started[0]
