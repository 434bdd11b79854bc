"""Gradients of one step of tiny detectors, by this process alone or by several processes and micro-batches."""

import copy
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm
from torch import Tensor, nn

from querydet.engine.accumulation import count_objects, exchanging, split_batch
from tests.engine.forked import fork_server
from tests.models import make_inputs, tiny_detector

# Objects of every image: an image without any; a process, of two, without any and fewer objects than shares.
COUNTS = ([3, 0, 1, 2], [0, 1, 0, 0])
EQUAL = [(64, 64)] * 4
UNEQUAL = [(64, 64), (64, 128), (128, 64), (64, 64)]
# Dense predictions of the encoder, and masks, count padding as background, as in the released codes: their loss depends
# on which images are padded together.
PADDING_IS_TRAINED = (
    "deformable_detr",
    "group_deformable_detr_pp",
    "h_detr",
    "ms_detr",
    "ms_dino",
    "ms_group",
    "dac_detr",
    "ms_dac_detr",
    "ms_align_detr",
    "mask_deformable_detr",
    "ms_mask_deformable_detr",
    "dino_masks",
    "mask2former",
    "group_mask2former",
)


def sizes_of(name: str) -> list[tuple[int, int]]:
    """Sizes of the images whose gradients do not depend on how they are batched."""
    dense = name.startswith((*PADDING_IS_TRAINED, "ms_h_detr", "deta")) and name != "deformable_detr_one_stage"
    return EQUAL if dense else UNEQUAL


def gradients(name: str, micro_batches: int = 1) -> list[dict[str, Tensor]]:
    """Gradients of a step for each of `COUNTS`, in float64; every process computes its share of the images."""
    model: nn.Module = tiny_detector(name).double().train()
    wrapped = nn.parallel.DistributedDataParallel(model) if comm.get_world_size() > 1 else model
    found = []
    for counts in COUNTS:
        batch = make_inputs(sizes_of(name), counts)[comm.get_rank() :: comm.get_world_size()]
        parts, count = split_batch(batch, micro_batches), count_objects(batch, micro_batches)
        wrapped.zero_grad()
        for number, part in enumerate(parts, start=1):
            with exchanging(wrapped, last=number == len(parts)):
                (sum(wrapped(part, count).values()) / len(parts)).backward()
        found.append({key: copy.copy(value.grad) for key, value in model.named_parameters()})
    return found


def run(rank: int, world_size: int, port: int, names: tuple[str, ...], micro_batches: int, path: str) -> None:
    """One of several processes; the first one writes the gradients of all detectors."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    comm.create_local_process_group(world_size)
    found = {name: gradients(name, micro_batches) for name in names}
    if rank == 0:
        torch.save(found, path)
    dist.destroy_process_group()


def in_processes(world_size: int, names: tuple[str, ...], micro_batches: int, folder: str) -> dict:
    """Gradients by detector, in the order of `COUNTS`."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    path = os.path.join(folder, f"gradients_{world_size}_{micro_batches}.pth")
    fork_server()  # whose processes have imported everything
    arguments = (world_size, port, names, micro_batches, path)
    mp.start_processes(run, arguments, nprocs=world_size, start_method="forkserver")
    return torch.load(path, weights_only=True)
