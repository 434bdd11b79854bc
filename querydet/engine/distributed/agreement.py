"""Numbers that all processes of a run agree on."""

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor


def largest(values: Iterable[float], device: torch.device | None = None) -> list[float]:
    """Compute the largest of each number over all processes.

    Args:
        values: numbers of this process.
        device: device on which NCCL exchanges them; None: the current GPU.
    """
    found = torch.tensor([float(value) for value in values], dtype=torch.float64)
    if comm.get_world_size() > 1:
        if dist.get_backend() == "nccl":
            found = found.to(device or "cuda")
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.tolist()


def mean_losses(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Average losses over processes; a NaN of one becomes a NaN of all, so that they agree without another exchange."""
    names = sorted(losses)
    values = torch.stack([losses[name].detach().to(torch.float64) for name in names])
    if comm.get_world_size() > 1:
        dist.all_reduce(values)
        values /= comm.get_world_size()
    return dict(zip(names, values.tolist(), strict=True))
