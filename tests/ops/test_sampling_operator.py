"""The deformable attention operator as a registered operator: errors, autograd, compile, export, the fallback."""

import pytest
import torch
from torch import Tensor

from querydet.ops import multi_scale_deformable_attention
from querydet.ops.ms_deform_attn import OPERATOR
from tests.ops.registered import assert_registered, needs_extension
from tests.ops.sampling import SHAPES, assert_near, between_pixels, make_inputs

BAD_ARGUMENTS = {
    "value must be .* got shape .2, 39, 16.": {"value": lambda v: v.flatten(2)},
    "38 pixels .* sum to 39": {"value": lambda v: v[:, 1:]},
    r"\(H, W\) pairs .* \(5,\)": {"shapes": lambda _: [(5,), (3, 6), (1, 1)]},
    r"pairs of integers >= 0, but got \(-5, 4\)": {"shapes": lambda _: [(-5, 4), (3, 6), (1, 1)]},
    r"pairs of integers >= 0, but got \(5.0, 4\)": {"shapes": lambda _: [(5.0, 4), (3, 6), (1, 1)]},
    r"int64 of shape \(L, 2\).*int32": {"shapes": lambda _: torch.tensor(SHAPES, dtype=torch.int32)},
    r"sampling_locations must be \(B, Q, M, L, P, 2\), but got": {"locations": lambda x: x[..., :1]},
    r"\(B, M, L\) = \(1, 2, 3\), .* need \(2, 2, 3\)": {"locations": lambda x: x[:1]},
    r"\(B, M, L\) = \(2, 1, 3\), .* need \(2, 2, 3\)": {"locations": lambda x: x[:, :, :1]},
    r"\(B, M, L\) = \(2, 2, 2\), .* need \(2, 2, 3\)": {"locations": lambda x: x[:, :, :, :2]},
    r"attention_weights must have the shape \(2, 7, 2, 3, 3\) .* \(2, 7, 2, 3, 2\)": {"weights": lambda w: w[..., :2]},
    "value must be one of .*int64": {"value": lambda v: v.long()},
    "sampling_locations must be one of .*float64.*float32": {"locations": lambda x: x.float()},
    "attention_weights must be one of .*float64.*float32": {"weights": lambda w: w.float()},
    "sampling_locations is on meta, but value is on cpu": {"locations": lambda x: x.to("meta")},
    "attention_weights is on meta, but value is on cpu": {"weights": lambda w: w.to("meta")},
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_arguments_name_both_sides(message):
    value, locations, weights = make_inputs()
    arguments = {"value": value, "shapes": SHAPES, "locations": locations, "weights": weights}
    for name, change in BAD_ARGUMENTS[message].items():
        arguments[name] = change(arguments[name])
    with pytest.raises(ValueError, match=message):
        multi_scale_deformable_attention(*arguments.values())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("value", lambda v: v[:, 1:]),
        ("value", lambda v: v[0]),
        ("value", lambda v: v.long()),
        ("flat", lambda flat: flat[:-1]),
        ("flat", lambda flat: [-1, *flat[1:]]),
        ("flat", lambda flat: [2**40, 2**40, *flat[2:]]),
        ("locations", lambda x: x[:1]),
        ("locations", lambda x: x.float()),
        ("weights", lambda w: w[..., :2]),
        ("weights", lambda w: w.half()),
        ("grad_output", lambda g: g[..., 1:]),
        ("grad_output", lambda g: g[:1]),
    ],
)
def test_bad_arguments_of_the_operator_itself(name, change):
    value, locations, weights = make_inputs()
    flat = [size for shape in SHAPES for size in shape]
    grad_output = torch.ones(2, 7, 16, dtype=torch.float64)
    arguments = {"value": value, "flat": flat, "locations": locations, "weights": weights, "grad_output": grad_output}
    arguments[name] = change(arguments[name])
    with pytest.raises((RuntimeError, ValueError), match=r"must|sum to|need|fit"):
        torch.ops.querydet.ms_deform_attn_backward(*arguments.values(), False, [True, True, True])
    if name != "grad_output":
        with pytest.raises((RuntimeError, ValueError), match=r"must|sum to|need|fit"):
            torch.ops.querydet.ms_deform_attn(*list(arguments.values())[:4])


def test_second_derivative_is_refused():
    inputs = [tensor.requires_grad_() for tensor in make_inputs()]
    output = multi_scale_deformable_attention(inputs[0], SHAPES, inputs[1], inputs[2])
    (first,) = torch.autograd.grad(output.sum(), inputs[1], create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives of querydet::ms_deform_attn are not implemented"):
        first.sum().backward()


def test_opcheck():
    value, locations, weights = make_inputs(SHAPES[:2], channels=3, queries=4, points=2)
    flat = [size for shape in SHAPES[:2] for size in shape]
    locations = between_pixels(SHAPES[:2], locations)
    wanted = {"test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"}
    inputs = (value.requires_grad_(), flat, locations.requires_grad_(), weights.requires_grad_())
    results = torch.library.opcheck(torch.ops.querydet.ms_deform_attn, inputs)
    assert results == dict.fromkeys(wanted, "SUCCESS")
    plain = [tensor.detach() if isinstance(tensor, Tensor) else tensor for tensor in inputs]
    for mask in ([True, True, True], [False, True, False]):
        arguments = (*plain, torch.randn(2, 4, 6, dtype=torch.float64), True, mask)
        results = torch.library.opcheck(torch.ops.querydet.ms_deform_attn_backward, arguments)
        assert results == dict.fromkeys(wanted, "SUCCESS")


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph(backend):
    def function(value, locations, weights):
        return multi_scale_deformable_attention(value * 2, SHAPES, locations, weights).sin()

    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=backend)
    for queries in (7, 11):
        inputs = [tensor.requires_grad_() for tensor in make_inputs(queries=queries)]
        wanted, found = function(*inputs), compiled(*inputs)
        assert_near(found, wanted, 1e-9)
        for one, other in zip(
            torch.autograd.grad(found.sum(), inputs), torch.autograd.grad(wanted.sum(), inputs), strict=True
        ):
            assert_near(one, other, 1e-9)


def test_exports_with_dynamic_batch_and_queries():
    class Sampler(torch.nn.Module):
        def forward(self, value, locations, weights):
            return multi_scale_deformable_attention(value, SHAPES, locations, weights)

    batch, queries = torch.export.Dim("batch"), torch.export.Dim("queries")
    dynamic = ({0: batch}, {0: batch, 1: queries}, {0: batch, 1: queries})
    program = torch.export.export(Sampler(), make_inputs(), dynamic_shapes=dynamic)
    assert any("querydet.ms_deform_attn" in str(node.target) for node in program.graph.nodes)
    inputs = make_inputs(batch=3, queries=5)
    wanted = multi_scale_deformable_attention(inputs[0], SHAPES, *inputs[1:])
    assert torch.equal(program.module()(*inputs), wanted)


def test_shapes_are_inferred_beyond_32_bit_offsets():
    # 2^32 elements: only shapes exist on the meta device.
    value = torch.empty(64, 65536, 8, 128, device="meta", dtype=torch.bfloat16)
    locations, weights = (torch.empty(64, 9, 8, 1, 4, *rest, device="meta") for rest in ((2,), ()))
    output = multi_scale_deformable_attention(value, [(256, 256)], locations, weights)
    assert output.shape == (64, 9, 1024)
    assert output.dtype == torch.bfloat16


def test_autocast_leaves_coordinates_alone():
    value, locations, weights = make_inputs(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        output = multi_scale_deformable_attention(value, SHAPES, locations, weights)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, multi_scale_deformable_attention(value, SHAPES, locations, weights))


@needs_extension
def test_extension_has_the_same_schemas_and_kernels_for_the_cpu():
    for schema in (OPERATOR.schema, OPERATOR.backward_schema):
        assert_registered(schema)
