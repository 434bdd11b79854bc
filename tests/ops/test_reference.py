"""The definition of deformable attention agrees with nested loops, and its backward with autograd."""

import torch

from querydet.ops.reference import ms_deform_attn_reference, ms_deform_attn_reference_backward
from tests.ops.sampling import SHAPES, assert_near, make_inputs
from tests.reference.ms_deform_attn_loops import ms_deform_attn_loops


def test_definition_agrees_with_loops():
    value, locations, weights = make_inputs()
    wanted = ms_deform_attn_loops(value.numpy(), SHAPES, locations.numpy(), weights.numpy())
    assert_near(ms_deform_attn_reference(value, SHAPES, locations, weights), torch.from_numpy(wanted), 1e-12)


def test_definition_backward_is_its_derivative():
    inputs = [tensor.requires_grad_() for tensor in make_inputs()]
    output = ms_deform_attn_reference(inputs[0], SHAPES, inputs[1], inputs[2])
    grad_output = torch.randn_like(output)
    wanted = torch.autograd.grad(output, inputs, grad_output)
    found = ms_deform_attn_reference_backward(
        inputs[0].detach(), SHAPES, *(t.detach() for t in inputs[1:]), grad_output
    )
    for one, other in zip(found, wanted, strict=True):
        assert_near(one, other, 1e-12)
