"""Checksums by which processes compare their weights."""

import torch

from querydet.engine.hooks.divergence import checksums


def test_checksums_see_one_bit_and_exchanged_values():
    tensors = [torch.randn(4, 3), torch.randn(5).to(torch.bfloat16), torch.arange(3)]
    sums = checksums(tensors)
    assert torch.equal(sums, checksums([tensor.clone() for tensor in tensors]))
    changed = tensors[0].clone()
    changed.view(torch.int32)[2, 1] ^= 1
    assert checksums([changed])[0] != sums[0]
    assert checksums([tensors[0][[1, 0, 2, 3]]])[0] != sums[0]
    assert checksums([-tensors[1]])[0] != sums[1]
