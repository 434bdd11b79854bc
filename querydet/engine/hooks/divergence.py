"""Check that all processes of a run have the same weights.

``DistributedDataParallel`` averages gradients and trusts that equal steps from equal weights stay equal. A part that
writes to its weights, a broken machine or a failed exchange breaks that silently.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class DivergenceError(RuntimeError):
    """Processes have different weights."""


class DivergenceCheck(HookBase):
    """Periodically compares the parameters of all processes, by sums over their bits.

    Args:
        model: the model, without a wrapper.
        period: in iterations, 0 for never.

    Raises:
        ValueError: a negative period.
    """

    def __init__(self, model: nn.Module, period: int) -> None:
        if period < 0:
            raise ValueError(f"train.check_ranks_period has to be at least 0, got {period}")
        self._parameters = list(model.named_parameters())
        self._period = period

    def before_train(self) -> None:
        """Check the weights that the first step starts from."""
        self._check(-1)

    def after_step(self) -> None:
        """Check when it is time; this hook comes before those that save."""
        if self._period and (self.trainer.iter + 1) % self._period == 0:
            self._check(self.trainer.iter)

    def _check(self, iteration: int) -> None:
        if not self._period or comm.get_world_size() == 1:
            return
        sums = checksums([parameter for _, parameter in self._parameters])
        gathered = [torch.empty_like(sums) for _ in range(comm.get_world_size())]
        dist.all_gather(gathered, sums)
        for rank, other in enumerate(gathered):
            differing = (other != gathered[0]).nonzero().flatten().tolist()
            if differing:
                names = ", ".join(self._parameters[index][0] for index in differing[:5])
                raise DivergenceError(
                    f"after iteration {iteration}, process {rank} has other weights than process 0 in {len(differing)} "
                    f"parameters: {names}. The checkpoints before it are of equal weights; resume from them"
                )


def checksums(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over the bits of each tensor, shape (number of tensors,) int64; equal tensors have equal sums.

    Each element is weighted with its index, so that exchanged elements show.
    """
    sums = []
    for tensor in tensors:
        bits = tensor.detach().contiguous().view(_BITS[tensor.element_size()]).flatten().to(torch.int64)
        places = torch.arange(1, len(bits) + 1, device=bits.device)
        sums.append((bits * places).sum())  # wraps around, as intended
    return torch.stack(sums)
