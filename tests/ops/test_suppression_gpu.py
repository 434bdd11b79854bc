"""Suppression on a GPU: the definition's answer, bit for bit, and no wait for the device."""

import pytest
import torch

from querydet.ops.suppression import OPERATOR, suppress, suppress_reference
from tests.ops.test_suppression import boxes_and_scores, hard_case

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_extension_has_the_kernel():
    assert torch._C._dispatch_has_kernel_for_dispatch_key(OPERATOR, "CUDA")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize(
    ("batch", "groups", "count", "part"),
    [(2, 3, 150, 0.7), (1, 2, 257, 1.0), (2, 4, 22000, 0.045), (1, 91, 900, 0.12), (1, 1, 5000, 1.0)],
)
def test_gpu_finds_what_the_definition_finds(dtype, threshold, batch, groups, count, part):
    boxes, scores = hard_case(count, dtype, batch, groups, count, part)
    found = suppress(boxes.cuda(), scores.cuda(), threshold)
    assert torch.equal(found.cpu(), suppress_reference(boxes, scores, threshold))


def test_gpu_empty_strided_and_16_bit():
    boxes, scores = boxes_and_scores(0)
    on_gpu = boxes.cuda(), scores.cuda()
    assert suppress(on_gpu[0][:, :0], on_gpu[1][..., :0], 0.5).shape == (2, 3, 0)
    assert not suppress(on_gpu[0], torch.full_like(on_gpu[1], -torch.inf), 0.5).any()
    strided = on_gpu[1].transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(suppress(on_gpu[0], strided, 0.4).cpu(), suppress(boxes, scores, 0.4))
    found = suppress(on_gpu[0].bfloat16(), on_gpu[1].half(), 0.4)
    assert torch.equal(found.cpu(), suppress(boxes.bfloat16(), scores.half(), 0.4))


def test_gpu_is_not_waited_for():
    boxes, scores = (each.cuda() for each in hard_case(0, torch.float32, 2, 4, 22000, 0.045))
    suppress(boxes, scores, 0.5)  # memory
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        suppress(boxes, scores, 0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
