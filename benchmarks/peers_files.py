"""What the contestants of `benchmarks.peers` read: images, weights under official names, and our exported graphs.

Every function runs in a process of its own through `benchmarks.turns`, and leaves out what the folder has already.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import peers

MODEL = "DINO R50"


def write_images(folder: str, height: int, width: int, batch: int) -> Callable[[], Any]:
    """Write the images of a case."""
    from querydet.analysis.measure import noise_inputs

    def write() -> None:
        detector = peers.make_detector(MODEL)
        inputs = noise_inputs(batch, height, width, peers.CLASSES)
        pixels = torch.stack([each["image"] for each in inputs])
        normalised = (pixels - detector.pixel_mean) / detector.pixel_std
        values = {"images": pixels, "normalised": normalised.contiguous()}
        torch.save(values, Path(folder) / f"images_{batch}x{height}x{width}.pth")

    return write


def write_weights(folder: str) -> Callable[[], Any]:
    """Write the weights under the names of the official code."""
    from querydet.checkpoint.conversion.revert import revert_state_dict

    def write() -> None:
        state = revert_state_dict(peers.make_detector(MODEL).state_dict())
        torch.save(state, Path(folder) / "official.pth")

    return write


def write_graph(folder: str, height: int, width: int) -> Callable[[], Any]:
    """Write the ONNX file, of one height and width."""
    from querydet.export.onnx import export_onnx

    def write() -> None:
        path = Path(folder) / f"dino_{height}x{width}.onnx"
        if not path.exists():
            export_onnx(peers.make_detector(MODEL), str(path), (height, width))

    return write


def write_8_bit_graph(folder: str, height: int, width: int) -> Callable[[], Any]:
    """Write the file of OpenVINO in 8 bit, calibrated on the image of batch 1, as ours is."""
    openvino = importlib.import_module("querydet.export.openvino")
    source, path = (str(Path(folder) / f"dino_{height}x{width}.{ending}") for ending in ("onnx", "int8.xml"))

    def write() -> None:
        if not Path(path).exists():
            inputs = peers.graph_inputs(folder, height, width, 1)
            openvino.export_openvino(source, path, "int8", [(inputs["images"], inputs["sizes"])])

    return write
