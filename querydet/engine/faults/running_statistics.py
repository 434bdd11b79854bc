"""Running statistics of batch norms that are not frozen, which every forward pass changes."""

import torch
from torch import nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class RunningStatistics:
    """Keeps the statistics from before a step, so that a step that is left out or repeated leaves no trace in them.

    Args:
        model: the model; frozen norms have no statistics that change.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [b for m in model.modules() if isinstance(m, _NORMS) for b in m.buffers(recurse=False)]
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]

    @torch.no_grad()
    def keep(self) -> None:
        """Keep the statistics, before a step."""
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            kept.copy_(buffer)

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the statistics, after a step that failed."""
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            buffer.copy_(kept)
