"""Cost of running a config's model on noise: time by part, memory, and the activations that a training step saves."""

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from omegaconf import DictConfig

from querydet.analysis.activation_memory import Kept, KeptActivations
from querydet.analysis.part_hooks import watch_parts
from querydet.analysis.timing import Timing, time_inference, time_training
from querydet.checkpoint import load_weights
from querydet.engine.precision import amp_dtype
from querydet.engine.training import build_model, build_optimizer
from querydet.modeling.detector import QueryDetector


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of one model; None for what was not measured."""

    device: str
    inference: Timing | None
    training: Timing | None
    kept: Kept | None  # activations saved by a training step


def noise_inputs(
    batch_size: int, height: int, width: int, num_classes: int, objects: int = 10, seed: int = 0
) -> list[dict[str, Any]]:
    """Make inputs of a detector: noise images with random objects.

    Args:
        batch_size: number of images.
        height: of each image, in pixels.
        width: of each image, in pixels.
        num_classes: labels are drawn uniformly from this many classes.
        objects: number of objects of each image.
        seed: of the random generator.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([width, height, width, height])
    inputs = []
    for index in range(batch_size):
        corner = 0.7 * torch.rand(objects, 2, generator=generator)
        extent = 0.05 + 0.25 * torch.rand(objects, 2, generator=generator)
        instances = Instances((height, width), gt_boxes=Boxes(torch.cat([corner, corner + extent], dim=1) * scale))
        instances.gt_classes = torch.randint(num_classes, (objects,), generator=generator)
        image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
        inputs.append({"image": image, "instances": instances, "file_name": f"noise {index}", "seed": index})
    return inputs


def add_masks(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return inputs whose objects have masks too: all of their boxes.

    Args:
        inputs: of `noise_inputs`; not changed.
    """
    return [{**each, "instances": _with_masks(each["instances"])} for each in inputs]


def _with_masks(instances: Instances) -> Instances:
    height, width = instances.image_size
    x0, y0, x1, y1 = instances.gt_boxes.tensor[:, :, None, None].unbind(1)
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    masks = BitMasks((x0 <= columns) & (columns < x1) & (y0 <= rows) & (rows < y1))
    return Instances(instances.image_size, **instances.get_fields(), gt_masks=masks)


def measure(
    cfg: DictConfig,
    size: tuple[int, int],
    *,
    weights: str | None = None,
    inference: bool = True,
    training: bool = False,
    batch_size: int = 1,
    objects: int = 10,
    repeats: int = 10,
    warmup: int = 2,
) -> Measured:
    """Build the model of a config on `train.device` and run it; a progress bar shows the time left.

    With `train.amp.enabled` forward passes run in its precision. A training step has one optimizer step on float32
    gradients, without scaling or clipping.

    Args:
        cfg: complete config.
        size: (height, width) of the images.
        weights: path of a checkpoint; None for random weights.
        inference: whether to time detection.
        training: whether to time training steps and count what they save.
        batch_size: number of images.
        objects: number of objects of each image.
        repeats: number of timed runs.
        warmup: number of runs before the timed ones.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        TypeError: the config's model is no detector of this project.
        ValueError: the checkpoint does not fit, or a number is out of its range.
    """
    model = build_model(cfg)
    if not isinstance(model, QueryDetector):
        raise TypeError(f"only the parts of a querydet detector can be timed, not those of a {type(model).__name__}")
    if weights is not None:
        load_weights(model, weights, use_ema=cfg.train.ema.enabled)
    inputs = noise_inputs(batch_size, *size, model.num_classes, objects)
    if model.masks is not None:
        inputs = add_masks(inputs)
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    precision = amp_dtype(cfg.train.amp, device)
    results: dict[str, Any] = {"inference": None, "training": None, "kept": None}
    with torch.autocast(device.type, precision, enabled=precision is not None):
        if inference:
            results["inference"] = time_inference(model, inputs, repeats=repeats, warmup=warmup, progress=True)
        if training:
            results["kept"] = count_kept(model.train(), inputs)
            optimizer = build_optimizer(cfg, model)
            results["training"] = time_training(model, inputs, optimizer, repeats=repeats, warmup=warmup, progress=True)
    return Measured(device=name, **results)


def count_kept(model: QueryDetector, inputs: list[dict[str, Any]]) -> Kept:
    """Measure the activations that a training step saves for the backward pass, by part.

    Args:
        model: in training mode.
        inputs: images with objects.
    """
    counter = KeptActivations(model)
    with watch_parts(model, counter.enter, counter.leave):
        return counter.count(lambda: model(inputs))
