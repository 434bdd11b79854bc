"""Tensors of any type arrive on the host as they were."""

import pytest
import torch

from querydet.utils import transfer
from querydet.utils.transfer import ALIGNMENT, send, to_host

TENSORS = [
    torch.tensor([True, False, True]),
    torch.arange(5, dtype=torch.int64),
    torch.tensor(2.5, dtype=torch.bfloat16),
    torch.zeros(0, 4),
    torch.arange(6.0).view(2, 3).T,  # not contiguous
    torch.tensor([[1, 2, 3]], dtype=torch.uint8),
]


def test_tensors_of_the_host_are_not_copied():
    weight = torch.ones(3, requires_grad=True)
    (found,) = to_host([weight])
    assert found.data_ptr() == weight.data_ptr()
    assert not found.requires_grad
    assert to_host([]) == []


def test_bytes_begin_where_any_number_may():
    for tensor in TENSORS:
        packed = transfer._as_bytes(tensor)
        size = tensor.numel() * tensor.element_size()
        assert len(packed) % ALIGNMENT == 0
        assert 0 <= len(packed) - size < ALIGNMENT
        assert torch.equal(packed[:size].view(tensor.dtype).view(tensor.shape), tensor)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_of_a_device_arrive_as_they_were():
    found = to_host([tensor.cuda() for tensor in TENSORS])
    assert [(each.dtype, each.shape, each.device.type) for each in found] == [
        (each.dtype, each.shape, "cpu") for each in TENSORS
    ]
    assert all(map(torch.equal, found, TENSORS))
    assert torch.equal(send(TENSORS[4], torch.device("cuda")).cpu(), TENSORS[4])


def test_sending_to_the_host_keeps_the_values():
    assert torch.equal(send(TENSORS[4], torch.device("cpu")), TENSORS[4])
