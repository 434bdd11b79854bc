"""What boxes add to matching costs: the kernel against the definition."""

import pytest
import torch
from torch import Tensor

from querydet.ops.matching_cost import matching_cost, matching_cost_reference
from querydet.ops.native import MISSING_EXTENSION

WEIGHTS = (5.0, 2.0, 1e-6)
SHAPES = [(1, 1, 1), (2, 3, 7), (3, 5, 900), (2, 0, 4), (2, 3, 0), (0, 3, 4)]


def make(sets: int, objects: int, queries: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Class costs and boxes, some of which are without area, and some the same as an object."""
    generator = torch.Generator().manual_seed(sets + objects + queries)
    boxes = torch.rand(sets, queries, 4, generator=generator, dtype=dtype)
    gt_boxes = torch.rand(objects, 4, generator=generator, dtype=dtype)
    boxes[..., ::5, 2:] = 0
    boxes[..., : min(objects, queries) : 2, :] = gt_boxes[: min(objects, queries) : 2]
    return torch.randn(sets, objects, queries, generator=generator, dtype=dtype), boxes, gt_boxes


@pytest.mark.skipif(bool(MISSING_EXTENSION), reason=f"nothing to compare: {MISSING_EXTENSION}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_kernel_is_the_definition_bit_by_bit(shape, dtype, threads) -> None:
    arguments = make(*shape, dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = matching_cost(*arguments, *WEIGHTS)
    finally:
        torch.set_num_threads(before)
    assert found.dtype == dtype
    assert torch.equal(found, matching_cost_reference(*arguments, *WEIGHTS))


def test_without_area_and_without_eps_it_is_nan_as_in_the_released_code() -> None:
    empty = torch.zeros(1, 1, 4)
    for function in (matching_cost, matching_cost_reference):
        assert function(torch.zeros(1, 1, 1), empty, empty[0], 5.0, 2.0, 0.0).isnan().all()


def test_strided_boxes_and_other_types_and_numbers_that_are_not_finite() -> None:
    class_cost, boxes, gt_boxes = make(2, 3, 40)
    turned = boxes.transpose(1, 2).contiguous().transpose(1, 2)
    wanted = matching_cost(class_cost, boxes, gt_boxes, *WEIGHTS)
    assert torch.equal(matching_cost(class_cost, turned, gt_boxes, *WEIGHTS), wanted)
    assert torch.equal(matching_cost(class_cost, boxes.double(), gt_boxes.double(), *WEIGHTS), wanted)
    boxes[0, 1, 2], boxes[1, 2, 0], class_cost[0, 0, 5] = torch.nan, torch.inf, torch.nan
    found = matching_cost(class_cost, boxes, gt_boxes, *WEIGHTS)
    assert not found[0, :, 1].isfinite().any()
    assert not found[1, :, 2].isfinite().any()
    assert found[0, 0, 5].isnan()
    assert found.isfinite().sum() == found.numel() - 7


def test_shapes_that_do_not_fit() -> None:
    class_cost, boxes, gt_boxes = make(2, 3, 7)
    with pytest.raises(ValueError, match=r"needs boxes \(2, 7, 4\) and gt_boxes \(3, 4\), found \(2, 6, 4\)"):
        matching_cost(class_cost, boxes[:, 1:], gt_boxes, *WEIGHTS)


def test_is_an_operator_that_the_compiler_knows() -> None:
    torch.library.opcheck(torch.ops.querydet.matching_cost.default, (*make(2, 3, 7), *WEIGHTS))
