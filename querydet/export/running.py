"""Exported models behind the interface of a detector."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.structures import Instances

from querydet.export.checking import Run
from querydet.export.graph import MASKS, pad_images
from querydet.export.masks import MaskPaster
from querydet.modeling.postprocess import make_instances


def run_program(path: str) -> Run:
    """Load a file of `torch.export` as a function; see `export.graph` for inputs and outputs."""
    return torch.export.load(path).module()


class ExportedDetector:
    """Runs an exported model with the inputs and outputs of a detector, for Detectron2's evaluators or a predictor.

    Args:
        run: from `run_program`, or an `onnx.OnnxModel`.
        min_size: smallest height and width of the exported model, from `export.json`; smaller images are padded.
        masks: what pasting masks needs, `masks` in `export.json`; None: the model predicts none.
    """

    def __init__(self, run: Run, min_size: tuple[int, int], masks: Mapping[str, Any] | None = None) -> None:
        self.run = run
        self.min_size = min_size
        self.paste = None if masks is None else MaskPaster(masks)

    def __call__(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect; see `QueryDetector.forward`."""
        images, sizes = pad_images([inputs["image"] for inputs in batched_inputs], self.min_size)
        outputs = self.run(images, sizes)
        results = []
        for index, (inputs, size) in enumerate(zip(batched_inputs, sizes.tolist(), strict=True)):
            boxes, scores, labels = (outputs[name][index] for name in ("boxes", "scores", "labels"))
            valid = labels >= 0
            output_size = (inputs.get("height", size[0]), inputs.get("width", size[1]))
            boxes, scores, labels = boxes[valid], scores[valid], labels[valid]
            instances = make_instances(boxes, scores, labels, torch.arange(len(labels)), output_size, clip=False)
            if self.paste is not None:
                batch_size = (images.shape[2], images.shape[3])
                instances = self.paste(instances, outputs[MASKS][index][valid], batch_size, (size[0], size[1]))
            instances.remove("query_indices")
            results.append({"instances": instances})
        return results
