"""Initial weights, as the released codes leave them: what a wrong one changes shows after days of training."""

import math

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from tests.models import tiny_config


def detector_of(name: str) -> QueryDetector:
    torch.manual_seed(0)
    return instantiate(tiny_config(name))


def xavier_bound(weight: Tensor) -> float:
    receptive = weight[0, 0].numel()
    return math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * receptive))


@pytest.mark.parametrize("name", ["deformable_detr_pp", "dino", "dn_detr"])
def test_matrices_of_the_transformer_are_xavier(name: str) -> None:
    model = detector_of(name)
    matrices = {
        key: value
        for key, value in model.named_parameters()
        if value.dim() > 1
        and key.startswith(("encoder.", "decoder.", "selection.", "neck.projections"))
        and not any(
            part in key for part in ("sampling_offsets", "attention_weights", "head.", "content", "anchors", "norm")
        )
    }
    assert len(matrices) > 20
    for key, value in matrices.items():
        bound = xavier_bound(value)
        assert value.abs().max() <= bound, key
        assert value.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15), key


def test_attention_starts_uniform_with_offsets_that_do_not_depend_on_the_query() -> None:
    for layer in detector_of("dino").decoder.layers:
        assert not layer.cross_attention.attention_weights.weight.any()
        assert not layer.cross_attention.attention_weights.bias.any()
        assert not layer.cross_attention.sampling_offsets.weight.any()
        assert layer.cross_attention.sampling_offsets.bias.abs().max() == 4


def test_classes_start_improbable_and_boxes_do_not_move() -> None:
    model = detector_of("dino")
    for head in (*model.heads.class_heads, model.selection.proposals.class_head):
        torch.testing.assert_close(head.bias.sigmoid(), torch.full_like(head.bias, 0.01))
    for head in (*model.heads.box_heads, model.selection.proposals.box_head):
        assert not head.layers[-1].weight.any()
        assert not head.layers[-1].bias.any()


def test_sizes_start_small_where_references_are_points_in_the_first_layer_alone() -> None:
    first, second = detector_of("deformable_detr_one_stage").heads.box_heads
    assert first.layers[-1].bias.tolist() == [0, 0, -2, -2]
    assert not second.layers[-1].bias.any()


@pytest.mark.parametrize(("name", "std"), [("dino", math.sqrt(2 / (12 + 32))), ("deformable_detr_pp", 1.0)])
def test_the_learned_content(name: str, std: float) -> None:
    assert detector_of(name).selection.content.weight.std().item() == pytest.approx(std, rel=0.1)


def test_embeddings_of_levels_and_labels_are_normal() -> None:
    model = detector_of("dino")
    assert model.neck.level_embed.std().item() == pytest.approx(1.0, rel=0.2)
    assert model.denoising.label_embed.weight.std().item() == pytest.approx(1.0, rel=0.2)


def test_a_deformable_encoder_before_standard_attention_starts_as_released() -> None:
    """Beside Xavier matrices in all of the transformer: torch's own weights in the neck and the box head."""
    model = detector_of("dn_deformable_encoder")
    torch_own = {f"neck {n}": one.conv.weight for n, one in enumerate(model.neck.projections)}
    torch_own |= {f"neck extra {n}": one.conv.weight for n, one in enumerate(model.neck.extra_projections)}
    torch_own |= {f"box {n}": one.weight for n, one in enumerate(model.heads.box_heads[0].layers)}
    for name, weight in torch_own.items():
        bound = 1 / math.sqrt(weight[0].numel())
        assert 0.8 * bound < weight.abs().max() <= bound, name
    assert all(one.conv.bias.any() for one in (*model.neck.projections, *model.neck.extra_projections))
    assert model.heads.box_heads[0].layers[-1].bias.any()
    torch.testing.assert_close(model.heads.class_heads[0].bias.sigmoid(), torch.full((5,), 0.01))
    patterns, shared = model.selection.patterns.weight, model.selection.content.weight
    assert patterns.abs().max() <= math.sqrt(6 / (3 + 32))
    assert shared.std().item() == pytest.approx(1.0, rel=0.4)
    assert model.selection.anchors.weight.std().item() == pytest.approx(1.0, rel=0.3)
    for name, value in model.decoder.named_parameters():
        if value.dim() == 2:
            assert value.abs().max() <= math.sqrt(6 / sum(value.shape)), name
    assert not any(layer.cross_attention.output.bias.any() for layer in model.decoder.layers)
