"""Detection with CUDA graphs: the kernels of a batch of one size are recorded once and then replayed.

Inference is more than a thousand small kernels, and a fast GPU waits for the host that launches them one by one. A
recorded graph is launched as a whole (CUDA programming guide, "CUDA Graphs"). It pays off where images have few sizes.
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
WARM_UP = 3  # runs before recording, in which libraries choose kernels and allocate workspaces


class Recording(Protocol):
    """A function of tensors, recorded together with its input buffers."""

    def __call__(self, *inputs: Tensor) -> PredictionSet:
        """Return the function's result for other inputs of the same shapes; the next call overwrites it."""


class CudaRecording:
    """Records a function on the current CUDA device.

    Args:
        function: of tensors on that device; it must neither synchronise with the device nor copy anything from the
            host.
        inputs: example inputs; later inputs have the same shapes and dtypes.
    """

    def __init__(self, function: Detect, *inputs: Tensor) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> PredictionSet:
        """Copy the inputs to the recorded buffers and replay the graph."""
        for buffer, tensor in zip(self.inputs, inputs, strict=True):
            buffer.copy_(tensor)
        self.graph.replay()
        return self.output


class GraphedDetection:
    """Replaces `QueryDetector.detect`: records a graph for each new input size, and replays it from then on.

    With gradients enabled, detection runs without graphs. Weights may change in place, as by `load_state_dict`; a
    detector that was moved to another device or dtype needs a new instance.

    Args:
        detect: the method `detect` of a detector.
        max_graphs: number of sizes to keep, each with memory of its own; the least recently used one is dropped.
        record: records `detect` for given inputs.

    Raises:
        ValueError: `max_graphs` is less than one.
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
        """Detect; arguments and result are those of `QueryDetector.detect`.

        What masks are made from is overwritten by the next call: `QueryDetector.forward` makes them before it.
        """
        if torch.is_grad_enabled():
            return self.detect(images, padding)
        kind = images.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (images.shape, images.dtype, autocast, torch.is_inference_mode_enabled())
        if key not in self.recordings:
            if len(self.recordings) == self.max_graphs:
                self.recordings.popitem(last=False)
            # autocast caches converted weights: a recorded graph would keep using the copies of that time;
            # and a graph cannot copy from the host, where Detectron2's ViT and MViT would make their index tables
            with torch.autocast(kind, dtype=autocast, enabled=autocast is not None, cache_enabled=False), images.device:
                self.recordings[key] = self.record(self.detect, images, padding)
        self.recordings.move_to_end(key)
        predictions = self.recordings[key](images, padding)
        return replace(predictions, logits=predictions.logits.clone(), boxes=predictions.boxes.clone())


def use_cuda_graphs(detector: QueryDetector, max_graphs: int = 8) -> None:
    """Let a detector on a GPU detect with CUDA graphs from now on.

    Args:
        detector: a detector on a CUDA device; put it in evaluation mode before it is called without gradients.
        max_graphs: number of input sizes to keep graphs for.

    Raises:
        ValueError: the detector is not on a CUDA device.
    """
    if detector.device.type != "cuda":
        raise ValueError(f"CUDA graphs need a detector on a CUDA device, and this one is on {detector.device}")
    detector.detect = GraphedDetection(detector.detect, max_graphs)  # type: ignore[method-assign]
