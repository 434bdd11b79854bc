"""Exported models in the place of a detector."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import Instances

from querydet.export.checking import Run
from querydet.export.graph import pad_images
from querydet.modeling.postprocess import make_instances


def run_program(path: str) -> Run:
    """A function that runs a file of ``torch.export``; inputs and outputs are those of :mod:`querydet.export.graph`."""
    return torch.export.load(path).module()


class ExportedDetector:
    """Takes and gives what a detector does, by an exported model: for Detectron2's evaluators, or a predictor.

    Args:
        run: from :func:`run_program`, or a :class:`querydet.export.onnx.OnnxModel`.
        min_size: the least height and width that it takes, as ``export.json`` says; smaller images are padded.
    """

    def __init__(self, run: Run, min_size: tuple[int, int]) -> None:
        self.run = run
        self.min_size = min_size

    def __call__(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect; see :meth:`querydet.modeling.detector.QueryDetector.forward`."""
        images, sizes = pad_images([inputs["image"] for inputs in batched_inputs], self.min_size)
        outputs = self.run(images, sizes)
        results = []
        for index, (inputs, size) in enumerate(zip(batched_inputs, sizes.tolist(), strict=True)):
            boxes, scores, labels = (outputs[name][index] for name in ("boxes", "scores", "labels"))
            there = labels >= 0
            wanted = (inputs.get("height", size[0]), inputs.get("width", size[1]))
            instances = make_instances(boxes[there], scores[there], labels[there], wanted, clip=False)
            results.append({"instances": instances})
        return results
