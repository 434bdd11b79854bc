"""Counts of detectors with masks: against the released codes at full size, and what they include."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from querydet.analysis.activation_memory import count_activations
from querydet.analysis.attention_memory import attention_memory
from querydet.analysis.detection_masks import DetectionMasks
from querydet.analysis.flops import FlopCount, build_on_meta, count_flops, count_parameters
from querydet.config import apply_overrides, get_config
from tests.models import tiny_config

# Counted on the released code of Mask2Former (github.com/facebookresearch/Mask2Former at commit 9b0651c) with 80
# classes, in 10^9 multiply-adds of an image of 800x1066, padded to 800x1088.
MASK2FORMER = {"backbone": 70.9, "encoder": 78.1, "total": 216.6}
FPN_CONVOLUTION = 32.1  # the 3x3 convolution at stride 4
# Of the masks of 300 queries on an image of 800x1066, counted on the modules of MS-DETR's repository.
MASKS_OF_300_QUERIES = 88.4
PARAMETERS = {  # of the released codes, with 91 classes; Mask2Former with 80
    ("mask2former", 80): 43_970_257,
    ("group_mask2former", 80): 43_970_257 + 512 * 100 * 10,  # two tables for each further group
    ("ms_mask_deformable_detr", 91): 79_901_682,
}
QUERIES, PIXELS, WIDTH = 100, 200 * 272, 256


def full_size(name: str, *overrides: str) -> nn.Module:
    """A shipped composition of full size, without weights."""
    return build_on_meta(apply_overrides(get_config(f"common/models/{name}.py"), overrides).model)


def giga(count: FlopCount, part: str) -> float:
    """Multiply-adds of a part in 10^9, without the sampling operator."""
    return sum(flops for op, flops in count.by_module[part].items() if "ms_deform" not in op) / 2e9


@pytest.fixture(scope="module")
def mask2former() -> FlopCount:
    return count_flops(full_size("mask2former"), 800, 1066)


@pytest.mark.parametrize(("name", "classes"), PARAMETERS)
def test_full_size_models_have_the_official_parameters(name: str, classes: int) -> None:
    count = count_parameters(full_size(name, f"model.num_classes={classes}"))
    assert count.total == PARAMETERS[name, classes]
    assert name == "ms_mask_deformable_detr" or count.frozen == 0, "no stage of the backbone is frozen"


@pytest.mark.slow
def test_mask2former_s_parts_cost_what_they_do_in_the_released_code(mask2former: FlopCount) -> None:
    assert giga(mask2former, "backbone") == pytest.approx(MASK2FORMER["backbone"], abs=0.05)
    assert giga(mask2former, "encoder") == pytest.approx(MASK2FORMER["encoder"], abs=0.05)
    assert giga(mask2former, "masks.head.output") == pytest.approx(FPN_CONVOLUTION, abs=0.05)


def test_mask2former_differs_from_the_released_code_by_whole_masks_of_its_layers(mask2former: FlopCount) -> None:
    """There every prediction has whole masks, and a class; here the first nine have masks in the size of a level."""
    whole = 9 * QUERIES * WIDTH * PIXELS
    resized = 3 * QUERIES * WIDTH * (25 * 34 + 50 * 68 + 100 * 136)
    classes = 9 * QUERIES * WIDTH * 81
    total = mask2former.multiply_adds + whole - resized + classes
    assert total / 1e9 == pytest.approx(MASK2FORMER["total"], abs=0.05)


@pytest.mark.slow
def test_groups_cost_inference_nothing(mask2former: FlopCount) -> None:
    assert count_flops(full_size("group_mask2former"), 800, 1066).multiply_adds == mask2former.multiply_adds


def test_masks_are_those_of_as_many_queries_as_there_are_detections() -> None:
    """The projections of the backbone's maps are made once, everything else for each query."""
    counts = {}
    for number in (100, 300):
        model = full_size("mask_deformable_detr", f"model.postprocess.num_detections={number}")
        counts[number] = giga(count_flops(model, 800, 1066), "masks")
    assert counts[300] == pytest.approx(MASKS_OF_300_QUERIES, rel=0.005)
    projections = 12.2
    assert counts[100] == pytest.approx(projections + (counts[300] - projections) / 3, rel=0.005)


def test_parts_add_up_to_the_total(mask2former: FlopCount) -> None:
    parts = [sum(ops.values()) for module, ops in mask2former.by_module.items() if "." not in module]
    assert sum(parts) == mask2former.total


def test_a_detector_without_masks_has_no_such_part() -> None:
    model = build_on_meta(tiny_config("dino"))
    assert "masks" not in count_flops(model, 64, 96).by_module
    assert "masks" not in count_activations(model, 64, 96)


@pytest.mark.parametrize("name", ["mask2former", "mask_deformable_detr"])
def test_masks_have_activations_of_their_own(name: str) -> None:
    model = build_on_meta(tiny_config(name))
    assert count_activations(model, 64, 96)["masks"] > 0


def test_the_size_that_the_detector_pads_to_is_counted() -> None:
    model = build_on_meta(tiny_config("mask2former"))
    assert model.size_divisibility == 32
    assert count_flops(model, 33, 65) == count_flops(model, 64, 96)
    assert count_activations(model, 33, 65) == count_activations(model, 64, 96)
    assert attention_memory(model, 33, 65, 1) == attention_memory(model, 64, 96, 1)


def test_a_postprocess_without_limit_counts_every_query() -> None:
    asked = []
    masks = SimpleNamespace(of_image=lambda image, hidden: asked.append((image, len(hidden))))
    predictions = SimpleNamespace(masks=masks, hidden=torch.zeros(2, 7, 4))
    for postprocess in (object(), SimpleNamespace(num_detections=3), SimpleNamespace(num_detections=9)):
        DetectionMasks(postprocess)(predictions)  # type: ignore[arg-type]
    assert asked == [(0, 7), (0, 3), (0, 7)]
