"""Numbers to 8-bit codes: the kernel against the definition, and both against numbers computed by hand."""

import pytest
import torch

from querydet.ops.native import MISSING_EXTENSION
from querydet.ops.quantize import quantize, quantize_reference


@pytest.mark.parametrize("function", [quantize, lambda *args: quantize_reference(args[0], None, *args[1:])])
def test_codes_by_hand(function) -> None:
    values = torch.tensor([0.0, 0.1, 0.25, 0.75, -0.5, -5.0, 200.0, torch.inf, -torch.inf, torch.nan] * 4)
    codes = function(values, 0.5, 3)
    # halves go to the even number of steps: 0.25 is half a step, 0.75 one and a half
    assert codes.tolist() == [3, 3, 3, 5, 2, 0, 255, 255, 0, 0] * 4
    assert codes.dtype == torch.uint8


@pytest.mark.skipif(bool(MISSING_EXTENSION), reason=f"nothing to compare: {MISSING_EXTENSION}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (15,), (16,), (33,), (2, 3, 37), (700, 256), (2, 5, 6, 7)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_kernel_is_the_definition(shape, dtype, threads) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    values, others = (torch.randn(shape, generator=generator).mul(2).to(dtype) for _ in range(2))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(quantize(values, 0.013, 77), quantize_reference(values, None, 0.013, 77))
        assert torch.equal(quantize(values, 0.05, 0, others), quantize_reference(values, others, 0.05, 0))
    finally:
        torch.set_num_threads(before)


def test_channels_that_are_innermost_stay_so() -> None:
    maps = torch.randn(2, 5, 6, 7).contiguous(memory_format=torch.channels_last)
    codes = quantize(maps, 0.02, 100, maps)
    assert codes.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(codes, quantize(maps.contiguous(), 0.02, 100, maps.contiguous()))


def test_strided_values() -> None:
    values = torch.randn(6, 40).T
    assert torch.equal(quantize(values, 0.02, 100), quantize(values.contiguous(), 0.02, 100))


@pytest.mark.parametrize(("scale", "zero_point"), [(0.0, 0), (-1.0, 0), (float("nan"), 0), (1.0, -1), (1.0, 256)])
def test_grids_that_are_none(scale, zero_point) -> None:
    with pytest.raises(ValueError, match="positive scale"):
        quantize(torch.zeros(3), scale, zero_point)
