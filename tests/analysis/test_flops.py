"""Parameter and FLOP counts: by hand for single layers, and against the released code for full-size models."""

import pytest
import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from querydet.analysis.flops import (
    OPERATOR,
    FlopCount,
    build_on_meta,
    count_flops,
    count_module_flops,
    count_parameters,
)
from querydet.config import apply_overrides, get_config, load_config
from querydet.ops import multi_scale_deformable_attention
from tests.models import tiny_config

# Counted on the official implementations (github.com/IDEA-Research/DINO at commit faa8520f,
# github.com/fundamentalvision/Deformable-DETR at 11169a60, github.com/IDEA-Research/DN-DETR at ff3902a2,
# github.com/jozhang97/DETA at f47e50ef), with 91 classes, on one image of 800 x 1066 without padding, by torch 2.14.1's
# FlopCounterMode: 2 per multiply-add, without the sampling core of the operator.
OFFICIAL_FLOPS = {
    "dino": 469552866816,
    "dino_5scale": 1382323680768,
    "deformable_detr": 336426954240,
    "deformable_detr_one_stage": 327920113664,
    "dn_detr": 443503831040,
    "deta": 474634850304,
    "deta_baseline": 474634850304,
}
# The same on images of 800 x 1333.
OFFICIAL_FLOPS_LARGE = {
    "dino": 579191198208,
    "dino_5scale": 1720922141184,
    "dn_detr": 551197112320,
    "deta": 585823920128,
}
# By the rules of DINO's tools/benchmark.py, in 10^9: convolutions, linear layers and matrix products at 1 per
# multiply-add, layer and group norms, and the total.
OFFICIAL_BENCHMARK = {
    "dino": {"conv": 74.0994, "linear": 154.3891, "bmm": 2.4883, "norm": 0.347, "total": 232.877},
    "dino_5scale": {"conv": 77.5991, "linear": 593.2311, "bmm": 2.4883, "norm": 1.3039, "total": 678.188},
}
# (trainable, frozen) parameters, counted on the official implementations with 91 classes.
OFFICIAL_PARAMETERS = {
    "dino": (46_670_782, 222_400),
    "dino_5scale": (47_033_406, 222_400),
    "dino_swin": (217_230_066, 0),
    "deformable_detr": (41_181_529 - 222_400, 222_400),
    "deformable_detr_one_stage": (40_069_665 - 222_400, 222_400),
    "dn_detr": (47_206_754, 222_400),
    "dn_deformable_encoder": (48_488_589 - 222_400, 222_400),
    "deta": (48_216_089, 222_400),
    "deta_baseline": (48_216_089, 222_400),
}
# Box and class predictions that the official code makes at inference and that nothing reads: of all decoder layers but
# the last, once more after the boxes were refined, and in DINO those of the selected proposals.
UNREAD = {
    "dino": (900, 6, 6),  # queries, box heads, class heads
    "dino_5scale": (900, 6, 6),
    "deformable_detr": (300, 6, 5),
    "deformable_detr_one_stage": (300, 5, 5),
    "dn_detr": (300, 6, 5),
    "deta": (900, 6, 5),
    "deta_baseline": (900, 6, 5),
}
# The same of MS-DETR (github.com/Atten4Vis/MS-DETR at c015d65f), by recipe: total and trainable parameters, FLOPs.
OFFICIAL_MS_DETR = {
    "ms_detr_r50_12ep": (53_793_625, 53_571_225, 454768713216),
    "ms_detr_r50_placement_a_12ep": (47_625_595, 47_403_195, 450993839616),
    "ms_detr_pp_r50_900q_12ep": (54_024_025, 53_801_625, 480862281216),
}
BOX_HEAD = 2 * 256 * 256 + 256 * 4
CLASS_HEAD = 256 * 91


def full_size(name: str) -> DictConfig:
    cfg = get_config(f"common/models/{name}.py")
    released = ["model.num_classes=91", "model.neck.ignore_padding=False"]  # a norm that is not made of small parts
    plain = ["model.decoder.refine_boxes=False", "model.heads.share_layers=True"]
    return apply_overrides(cfg, [*released, *(plain if name.endswith("one_stage") else [])]).model


@pytest.fixture(scope="module")
def flops() -> dict[str, FlopCount]:
    return {name: count_flops(build_on_meta(full_size(name)), 800, 1066) for name in OFFICIAL_FLOPS}


@pytest.mark.parametrize("name", list(OFFICIAL_PARAMETERS))
@pytest.mark.filterwarnings("ignore")
def test_full_size_models_have_the_official_parameters(name: str) -> None:
    count = count_parameters(build_on_meta(full_size(name)))
    assert (count.trainable, count.frozen) == OFFICIAL_PARAMETERS[name]


@pytest.mark.parametrize("name", list(OFFICIAL_FLOPS))
def test_flops_within_one_percent_of_the_official_code(name: str, flops: dict[str, FlopCount]) -> None:
    assert flops[name].without_operator == pytest.approx(OFFICIAL_FLOPS[name], rel=0.01)


@pytest.mark.parametrize("name", list(OFFICIAL_FLOPS))
def test_flops_differ_from_the_official_code_by_unread_predictions_alone(
    name: str, flops: dict[str, FlopCount]
) -> None:
    queries, box_heads, class_heads = UNREAD[name]
    unread = 2 * queries * (box_heads * BOX_HEAD + class_heads * CLASS_HEAD)
    assert flops[name].without_operator + unread == OFFICIAL_FLOPS[name]


@pytest.mark.parametrize("name", list(OFFICIAL_MS_DETR))
def test_ms_detr_differs_from_the_official_code_by_unread_predictions_alone(name: str) -> None:
    overrides = ["model.num_classes=91", "model.neck.ignore_padding=False"]
    model = load_config(f"projects/ms_detr/configs/{name}.py", overrides).model
    detector = build_on_meta(model)
    count = count_parameters(detector)
    total, trainable, flops = OFFICIAL_MS_DETR[name]
    assert (count.total, count.trainable) == (total, trainable)
    # like UNREAD, and the one-to-many predictions of all layers, which the official code makes at inference too
    ffn = 2 * 256 * 2048 if model.decoder.layer.one_to_many.ffn is not None else 0
    unread = 2 * model.selection.num_queries * (12 * BOX_HEAD + 11 * CLASS_HEAD + 6 * ffn)
    assert count_flops(detector, 800, 1066).without_operator + unread == flops


@pytest.mark.parametrize("name", list(OFFICIAL_FLOPS_LARGE))
def test_flops_follow_the_image_size(name: str) -> None:
    count = count_flops(build_on_meta(full_size(name)), 800, 1333)
    assert count.without_operator == pytest.approx(OFFICIAL_FLOPS_LARGE[name], rel=0.01)


@pytest.mark.parametrize("name", list(OFFICIAL_BENCHMARK))
def test_benchmark_rules_of_dino(name: str, flops: dict[str, FlopCount]) -> None:
    count, official = flops[name], OFFICIAL_BENCHMARK[name]
    norm = count.elementwise["aten.native_layer_norm"] + count.elementwise["aten.native_group_norm"]
    assert round(count.by_op["aten.convolution"] / 2e9, 4) == official["conv"]
    assert round(count.by_op["aten.bmm"] / 2e9, 4) == official["bmm"]
    assert round(norm / 1e9, 4) == official["norm"]
    # The official model was traced with a stand-in for the operator that ignores the attention weights: what leads to
    # them is missing from the record, and so is the last step of the boxes between the layers.
    weights = sum(
        sum(ops.values()) // 2 for module, ops in count.by_module.items() if module.endswith("attention_weights")
    )
    queries, box_heads, class_heads = UNREAD[name]
    unread = queries * ((box_heads - 1) * BOX_HEAD + class_heads * CLASS_HEAD)
    assert round((count.by_op["aten.addmm"] // 2 - weights + unread) / 1e9, 4) == official["linear"]
    weights += count.elementwise["aten._softmax"]  # of the attention weights; self-attention has _safe_softmax
    assert count.dino_benchmark - weights == pytest.approx(official["total"] * 1e9, rel=0.01)


def test_parts_add_up_to_the_total(flops: dict[str, FlopCount]) -> None:
    parts = [sum(ops.values()) for module, ops in flops["dino"].by_module.items() if "." not in module]
    assert sum(parts) == flops["dino"].total


def test_operator_is_counted_for_every_attention(flops: dict[str, FlopCount]) -> None:
    tokens = 100 * 134 + 50 * 67 + 25 * 34 + 13 * 17
    samples = 6 * (tokens + 900) * 8 * 4 * 4  # layers, queries, heads, levels, points
    assert flops["dino"].operator == 2 * 5 * 32 * samples
    assert flops["dino"].total == flops["dino"].without_operator + flops["dino"].operator


def test_operator_by_hand() -> None:
    value = torch.zeros(1, 4, 2, 4)  # 4 pixels, 2 heads of 4 channels
    locations = torch.zeros(1, 7, 2, 1, 3, 2)  # 7 queries, 1 level, 3 points
    with FlopCounterMode(display=False) as counter:
        multi_scale_deformable_attention(value, [(2, 2)], locations, torch.zeros(1, 7, 2, 1, 3))
    multiply_adds = 7 * 2 * 3 * 4 * (4 + 1)
    assert counter.get_total_flops() == 2 * multiply_adds
    assert {str(op) for op in counter.get_flop_counts()["Global"]} == {OPERATOR}


def test_linear_layer_by_hand() -> None:
    count = count_module_flops(nn.Linear(3, 5), torch.zeros(2, 3))
    assert count.by_op == {"aten.addmm": 2 * 2 * 3 * 5}
    assert count.multiply_adds == 30
    assert count.elementwise == {}
    assert count.operator == 0


def test_modules_and_elementwise_work_by_hand() -> None:
    stack = nn.Sequential(nn.Conv2d(2, 3, kernel_size=1), nn.ReLU(), nn.Flatten(), nn.LayerNorm(12))
    count = count_module_flops(stack, torch.zeros(1, 2, 2, 2))
    assert count.by_module["0"] == {"aten.convolution": 2 * 2 * 3 * 4}
    assert count.elementwise == {"aten.relu": 12, "aten.native_layer_norm": 5 * 12}
    assert count.dino_benchmark == 24 + 12 + 60


def test_shared_and_own_parameters_count_once() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(7))
            self.first = nn.Linear(2, 3)
            self.second = self.first
            self.first.bias.requires_grad_(False)

    count = count_parameters(Model())
    assert (count.total, count.trainable, count.frozen) == (16, 13, 3)
    assert count.by_part == {"": (7, 7), "first": (9, 6)}


def test_counting_leaves_the_model_alone() -> None:
    model = nn.Linear(3, 5).train()
    count_module_flops(model, torch.zeros(2, 3))
    assert model.training
    assert model.weight.requires_grad
    assert model.weight.device.type == "cpu"


@pytest.mark.parametrize(("height", "width"), [(0, 64), (64, -1)])
def test_empty_image_is_refused(height: int, width: int) -> None:
    model = build_on_meta(tiny_config())
    with pytest.raises(ValueError, match=f"height {height} and width {width}"):
        count_flops(model, height, width)
