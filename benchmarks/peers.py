"""The contestants of `python -m benchmarks.inference --parts peers`, each built in a process of its own.

Every function here gets the case (height, width, batch, threads) and the folder that `prepare` has filled, and returns
a function that detects on the same images. Those that compute DINO R50 with 4 scales all have the same weights, from
the folder, and return the detections of the first image: boxes in parts of the image, scores and labels.

The peers: `pip install transformers libreyolo openvino onnxruntime rfdetr`; those that are missing are left out.
Nothing is downloaded: weights are random.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CONFIGS = {
    "DINO R50": "projects/dino/configs/dino_r50_4scale_12ep.py",
    "Deformable DETR R50": "projects/deformable_detr/configs/deformable_detr_r50_two_stage_50ep.py",
}
CLASSES = 80
KEPT = 100  # detections that are compared
RF_DETR_MULTIPLE = 32  # of its height and width
Found = dict[str, list]  # boxes, scores and labels
Run = Callable[[], Found | None]


def make_detector(model: str) -> nn.Module:
    """Make our detector, with random weights by which classes and boxes of queries differ more than at first."""
    from detectron2.config import instantiate

    from querydet.config import load_config

    torch.manual_seed(0)
    # as official code, which may select tokens at the border; random weights prefer them
    overrides = [f"model.num_classes={CLASSES}", "model.selection.usable_only=False"]
    detector = instantiate(load_config(CONFIGS[model], overrides).model).eval()
    with torch.no_grad():
        for name, weight in detector.named_parameters():
            if "class_head" in name and name.endswith("weight"):
                weight.mul_(3)
            if "box_head" in name and not weight.any():
                weight.normal_(std=0.02)
    return detector


def querydet(folder: str, threads: int, model: str, form: str, **case: int) -> Run:
    """Ours: `plain`, or a form for inference in float32, bfloat16 or int8."""
    from querydet.utils.allocator import keep_freed_memory

    keep_freed_memory()  # as `querydet.Predictor` does
    torch.set_num_threads(threads)
    inputs = [{"image": image} for image in images(folder, **case)["images"]]
    detector = in_form(make_detector(model), form, inputs)
    return detecting(lambda: first_of(detector(inputs)))


def in_form(detector: nn.Module, form: str, inputs: list[dict[str, Any]]) -> nn.Module:
    """Return a form of a detector; 8 bit is calibrated on the inputs."""
    from querydet.fusion import fuse

    if form == "plain":
        return detector
    if form == "int8":
        quantization = importlib.import_module("querydet.quantization")
        observed = quantization.observe(detector)
        quantization.calibrate(observed, [inputs])
        return quantization.convert(observed, quantization.make_codes(observed), quantization.float_type())
    return fuse(detector, getattr(torch, form))


def first_of(outputs: list[dict[str, Any]]) -> Found:
    """Return the detections of the first image."""
    instances = outputs[0]["instances"]
    height, width = instances.image_size
    boxes = instances.pred_boxes.tensor / torch.tensor([width, height, width, height])
    return found(boxes, instances.scores, instances.pred_classes)


def onnx_runtime(folder: str, threads: int, height: int, width: int, batch: int) -> Run:
    """ONNX Runtime on our export."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = graph(folder, height, width)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {name: values.numpy() for name, values in graph_inputs(folder, height, width, batch).items()}
    names = ("boxes", "scores", "labels")
    return lambda: found(*(torch.from_numpy(values[0]) for values in session.run(names, inputs)))


def openvino(folder: str, threads: int, height: int, width: int, batch: int, precision: str) -> Run:
    """OpenVINO on our export, in `f32`, `bf16`, or `int8` of a file that is quantised already."""
    from openvino import Core

    core, quantised = Core(), precision == "int8"
    model = core.read_model(str(graph(folder, height, width, "int8.xml" if quantised else "onnx")))
    model.reshape({"images": [batch, 3, height, width], "sizes": [batch, 2]})  # faster than free sizes
    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    hints["INFERENCE_PRECISION_HINT"] = "bf16" if quantised else precision  # bf16: also what is not 8 bit, as ours
    compiled = core.compile_model(model, "CPU", hints)
    inputs = {name: values.numpy() for name, values in graph_inputs(folder, height, width, batch).items()}
    names = ("boxes", "scores", "labels")

    def run() -> Found:
        outputs = compiled(inputs)
        return found(*(torch.from_numpy(outputs[name][0]) for name in names))

    return run


def libreyolo(folder: str, threads: int, **case: int) -> Run:
    """Libreyolo's DINO, with our weights under the names of the official code."""
    from libreyolo.models.dinodetr.nn import LibreDINODETRModel
    from libreyolo.postprocess.dinodetr import postprocess

    torch.set_num_threads(threads)
    model = LibreDINODETRModel("r50", nc=CLASSES).eval()
    model.load_state_dict(torch.load(Path(folder) / "official.pth"))
    pixels = images(folder, **case)["normalised"]

    def detect() -> Found:
        outputs = model(pixels)
        selected = [
            postprocess({name: outputs[name][image] for name in ("pred_logits", "pred_boxes")}, conf_thres=0.0)
            for image in range(len(pixels))
        ]
        return found(*(torch.as_tensor(selected[0][name]) for name in ("boxes", "scores", "classes")))

    return detecting(detect)


def transformers(folder: str, threads: int, **case: int) -> Run:
    """Hugging Face's Deformable DETR."""
    torch.set_num_threads(threads)
    model = importlib.import_module("benchmarks.contest").make_peer("cpu").eval()
    pixels = images(folder, **case)["normalised"]
    mask = torch.ones_like(pixels[:, 0], dtype=torch.int64)
    return detecting(lambda: nothing(model(pixel_values=pixels, pixel_mask=mask)))


def rf_detr(folder: str, threads: int, height: int, width: int, batch: int, size: str) -> Run:
    """RF-DETR as its `inference()` prepares it: exported and traced."""
    from rfdetr import config
    from rfdetr.models.lwdetr import build_model_from_config

    if height % RF_DETR_MULTIPLE or width % RF_DETR_MULTIPLE or height != width:
        raise ValueError(f"it takes squares whose side is a multiple of {RF_DETR_MULTIPLE}")
    torch.set_num_threads(threads)
    # the name of a file that is not read keeps it from fetching a backbone
    settings = getattr(config, f"RFDETR{size}Config")(resolution=height, pretrain_weights="unused", device="cpu")
    model = build_model_from_config(settings).eval()
    model.export()
    pixels = images(folder, height, width, batch)["normalised"]
    with torch.no_grad():
        traced = torch.jit.trace(model, pixels, check_trace=False)
    return detecting(lambda: nothing(traced(pixels)))


def detecting(run: Run) -> Run:
    """Return a function that runs without gradients."""

    def call() -> Found | None:
        with torch.inference_mode():
            return run()

    return call


def nothing(outputs: Any) -> None:
    """Return no detections: the weights are others."""


def found(boxes: Tensor, scores: Tensor, labels: Tensor) -> Found:
    """Return the best detections as lists."""
    best = scores.float().argsort(descending=True)[:KEPT]
    return {
        "boxes": boxes[best].float().clamp(0, 1).tolist(),
        "scores": scores[best].float().tolist(),
        "labels": labels[best].tolist(),
    }


def images(folder: str, height: int, width: int, batch: int) -> dict[str, Tensor]:
    """Return the images (B, 3, H, W): `images` of 0 to 255, and `normalised`."""
    return torch.load(Path(folder) / f"images_{batch}x{height}x{width}.pth")


def graph_inputs(folder: str, height: int, width: int, batch: int) -> dict[str, Tensor]:
    """Return the inputs of our exports."""
    pixels = images(folder, height, width, batch)["images"].float()
    return {"images": pixels, "sizes": torch.tensor([[height, width]] * batch)}


def graph(folder: str, height: int, width: int, ending: str = "onnx") -> Path:
    """Return the path of an export.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(folder) / f"dino_{height}x{width}.{ending}"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path.name} beside the exported graphs")
    return path
