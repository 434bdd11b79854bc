"""Detection by CUDA graphs: what the device does for a batch of one size is recorded once and then replayed.

Inference is more than a thousand small kernels, and a fast GPU waits for the host that launches them one by one. A
recorded graph is launched as a whole (CUDA programming guide, "CUDA Graphs"). Worth it where images have few sizes.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from querydet.structures import PredictionSet

Detect = Callable[[Tensor, Tensor], PredictionSet]
WARM_UP = 3  # runs before recording, in which libraries choose their kernels and take their memory


class Recording(Protocol):
    """A function of tensors that was recorded with its inputs."""

    def __call__(self, *inputs: Tensor) -> PredictionSet:
        """What the function returns for other inputs of the same shapes; overwritten by the next call."""


class CudaRecording:
    """Records a function on the current CUDA device.

    Args:
        function: of tensors on that device; it must neither wait for the device nor take anything from the host.
        inputs: an example, whose shapes and types all later inputs have.
    """

    def __init__(self, function: Detect, *inputs: Tensor) -> None:
        self.inputs = [each.clone() for each in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> PredictionSet:
        """Replay with other inputs."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.output


class GraphedDetection:
    """Takes the place of :meth:`QueryDetector.detect`: records a size when it first comes, and replays it from then on.

    With gradients it is computed as without graphs. Weights may change in place, as by ``load_state_dict``; a detector
    that was moved to another device or type needs a new one.

    Args:
        detect: of the detector.
        max_graphs: how many sizes to keep, each with memory of its own; beyond, the one not used for longest goes.
        record: makes a recording.

    Raises:
        ValueError: for less than one graph.
    """

    def __init__(
        self, detect: Detect, max_graphs: int = 8, record: Callable[[Detect, Tensor, Tensor], Recording] = CudaRecording
    ) -> None:
        if max_graphs < 1:
            raise ValueError(f"max_graphs must be at least 1, found {max_graphs}")
        self.detect = detect
        self.max_graphs = max_graphs
        self.record = record
        self.recordings: OrderedDict[Hashable, Recording] = OrderedDict()

    def __call__(self, images: Tensor, padding: Tensor) -> PredictionSet:
        """Detect; arguments and result are those of :meth:`QueryDetector.detect`."""
        if torch.is_grad_enabled():
            return self.detect(images, padding)
        kind = images.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (images.shape, images.dtype, autocast, torch.is_inference_mode_enabled())
        if key not in self.recordings:
            if len(self.recordings) == self.max_graphs:
                self.recordings.popitem(last=False)
            # autocast keeps copies of weights from one operator to the next: they would stay as they were when recorded
            with torch.autocast(kind, dtype=autocast, enabled=autocast is not None, cache_enabled=False):
                self.recordings[key] = self.record(self.detect, images, padding)
        self.recordings.move_to_end(key)
        found = self.recordings[key](images, padding)
        return replace(found, logits=found.logits.clone(), boxes=found.boxes.clone())


def use_cuda_graphs(detector: QueryDetector, max_graphs: int = 8) -> None:
    """Let a detector on a GPU detect by graphs from now on.

    Args:
        detector: in evaluation mode when it is called without gradients.
        max_graphs: see :class:`GraphedDetection`.

    Raises:
        ValueError: the detector is not on a CUDA device.
    """
    if detector.device.type != "cuda":
        raise ValueError(f"CUDA graphs need a detector on a CUDA device, and this one is on {detector.device}")
    detector.detect = GraphedDetection(detector.detect, max_graphs)  # type: ignore[method-assign]
