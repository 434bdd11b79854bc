"""Tensors shared out over processes, and those that are not."""

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from querydet.engine.distributed.shared_tensors import collected, local, whole
from tests.engine.two_processes import in_two_processes


def test_what_is_not_shared_is_saved_as_it_is():
    state = {"a": [torch.ones(2), 3], "b": {"c": (None, "x")}}
    assert collected(state, keep=True)["a"][0] is state["a"][0]
    assert collected(state, keep=False)["b"] == state["b"]


def test_an_ordinary_tensor_is_its_own_whole_and_slice():
    tensor = torch.arange(3.0)
    assert whole(tensor) is tensor
    assert local(tensor) is tensor


def test_a_shared_tensor_is_made_whole_where_it_is_kept(tmp_path):
    def collect(rank):
        mesh = init_device_mesh("cpu", (2,))
        shared = distribute_tensor(torch.arange(6.0), mesh, [Shard(0)])
        kept = collected({"a": [shared]}, keep=rank == 0)["a"][0]
        return local(shared).tolist(), whole(shared).tolist(), None if kept is None else kept.tolist()

    everything = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert in_two_processes(collect, tmp_path) == [
        ([0.0, 1.0, 2.0], everything, everything),
        ([3.0, 4.0, 5.0], everything, None),
    ]
