"""Layer normalisation of a sum: the operator against float64, and against PyTorch's two steps."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from querydet.ops.add_layer_norm import add_layer_norm, add_layer_norm_reference
from tests.ops.registered import needs_extension
from tests.ops.sampling import assert_near

# Twice the rounding of a result of this type; float32 and float64 sum first.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}


def make(*shape: int, dtype: torch.dtype = torch.float32, mean: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    x, update = (torch.randn(shape, generator=generator, dtype=torch.float64) + mean for _ in range(2))
    weight, bias = torch.randn(2, shape[-1], generator=generator, dtype=torch.float64)
    return x.to(dtype), update.to(dtype), weight.to(dtype), bias.to(dtype)


def wanted(x: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x.double() + update.double(), x.shape[-1:], weight.double(), bias.double(), eps)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [1, 3, 8, 15, 16, 17, 64, 100, 256, 1031])
def test_agrees_with_float64(width, dtype) -> None:
    inputs = make(2, 5, width, dtype=dtype)
    found = add_layer_norm(*inputs)
    assert found.dtype == dtype
    assert_near(found, wanted(*inputs), TOLERANCE[dtype])
    assert_near(add_layer_norm_reference(*inputs, 1e-5), wanted(*inputs), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_may_stay_float32(dtype) -> None:
    x, update, _, _ = make(4, 40, dtype=dtype)
    _, _, weight, bias = make(4, 40)
    assert_near(add_layer_norm(x, update, weight, bias), wanted(x, update, weight, bias), TOLERANCE[dtype])


def test_a_large_mean_does_not_cost_the_variance() -> None:
    inputs = make(3, 256, mean=1000.0)
    assert_near(add_layer_norm(*inputs), wanted(*inputs), 2e-4)
    equal = torch.full((2, 33), 7.0)
    assert torch.equal(add_layer_norm(equal, equal, torch.ones(33), torch.full((33,), 0.5)), torch.full((2, 33), 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_for_every_thread_count_and_layout(dtype) -> None:
    inputs = make(3, 401, 72, dtype=dtype)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(add_layer_norm(*inputs))
    finally:
        torch.set_num_threads(before)
    x, update = (tensor.transpose(0, 2).contiguous().transpose(0, 2) for tensor in inputs[:2])
    results += [
        add_layer_norm(x, update, *inputs[2:]),
        add_layer_norm(*(t.flatten(0, -2) for t in inputs[:2]), *inputs[2:]),
    ]
    for other in results[1:]:
        assert torch.equal(other.view(results[0].shape), results[0])
    single = add_layer_norm(inputs[0][1:2], inputs[1][1:2], *inputs[2:])
    assert torch.equal(single, results[0][1:2])


def test_a_row_that_is_not_finite_spoils_no_other() -> None:
    x, update, weight, bias = make(4, 19)
    right = add_layer_norm(x, update, weight, bias)
    x[1, 3], update[2, 18] = torch.nan, torch.inf
    found = add_layer_norm(x, update, weight, bias)
    assert found[1:3].isnan().all()
    assert torch.equal(found[::3], right[::3])


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 8), (3, 0)])
def test_nothing_gives_nothing(shape) -> None:
    assert add_layer_norm(*make(*shape)).shape == shape


def test_what_does_not_fit_is_named() -> None:
    x, update, weight, bias = make(2, 6)
    with pytest.raises(ValueError, match=r"update must have the shape and dtype of x, \(2, 6\)"):
        add_layer_norm(x, update[:1], weight, bias)
    with pytest.raises(ValueError, match=r"but is .* torch\.bfloat16"):
        add_layer_norm(x, update.bfloat16(), weight, bias)
    with pytest.raises(ValueError, match=r"weight and bias must be \(6,\), but are \(6,\) and \(5,\)"):
        add_layer_norm(x, update, weight, bias[1:])


@needs_extension
def test_the_kernel_checks_by_itself() -> None:
    x, update, weight, bias = make(2, 6)
    for arguments in (
        (x, update[:, 1:], weight, bias),
        (x, update, weight[1:], bias),
        (x, update, weight.double(), bias),
    ):
        with pytest.raises(RuntimeError, match=r"must be|must have"):
            torch.ops.querydet.add_layer_norm(*arguments, 1e-5)


def test_is_an_operator_that_the_compiler_knows() -> None:
    torch.library.opcheck(torch.ops.querydet.add_layer_norm.default, (*make(2, 3, 7), 1e-5))
