"""Running a config's model on noise to see what it takes: times by part, memory, and what a training step keeps."""

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
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
    """What running a model took; None is what was not asked for."""

    device: str
    inference: Timing | None
    training: Timing | None
    kept: Kept | None  # of a training step


def noise_inputs(
    batch_size: int, height: int, width: int, num_classes: int, objects: int = 10, seed: int = 0
) -> list[dict[str, Any]]:
    """Inputs of a detector whose pixels are noise, with objects anywhere.

    Args:
        batch_size: how many images.
        height, width: of each, in pixels.
        num_classes: labels are drawn from so many.
        objects: of each image.
        seed: of all random numbers.
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
    """Builds the model of a config on ``train.device`` and runs it; a bar shows the time left.

    With ``train.amp.enabled`` forward passes run in its precision. A training step has one optimizer step on float32
    gradients, without scaling or clipping.

    Args:
        cfg: a complete config.
        size: (height, width) of the images.
        weights: a checkpoint; None: random weights.
        inference, training: what to run.
        batch_size: images.
        objects: of each image, in training.
        repeats, warmup: as of `querydet.analysis.timing.time_inference`.

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
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    precision = amp_dtype(cfg.train.amp, device)
    found: dict[str, Any] = {"inference": None, "training": None, "kept": None}
    with torch.autocast(device.type, precision, enabled=precision is not None):
        if inference:
            found["inference"] = time_inference(model, inputs, repeats=repeats, warmup=warmup, progress=True)
        if training:
            found["kept"] = count_kept(model.train(), inputs)
            optimizer = build_optimizer(cfg, model)
            found["training"] = time_training(model, inputs, optimizer, repeats=repeats, warmup=warmup, progress=True)
    return Measured(device=name, **found)


def count_kept(model: QueryDetector, inputs: list[dict[str, Any]]) -> Kept:
    """What a training step keeps for the backward pass, by part.

    Args:
        model: in training mode.
        inputs: with objects.
    """
    counter = KeptActivations(model)
    with watch_parts(model, counter.enter, counter.leave):
        return counter.count(lambda: model(inputs))
