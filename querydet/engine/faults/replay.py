"""A dumped training step, repeated in one process to find the layer in which NaN or infinity begins."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from querydet.checkpoint.regular import not_a_file
from querydet.checkpoint.torch_files import load_archive
from querydet.engine.accumulation import split_batch
from querydet.engine.run.setup import seed_everything
from querydet.structures import ObjectCount

KEYS = ("report", "iteration", "rank", "seed", "micro_batches", "amp", "object_count", "batch", "model")


def load_dump(path: str) -> dict[str, Any]:
    """Read a dump of `querydet.engine.faults.nonfinite`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, one that is refused as a stranger's checkpoint would be, or one of version
            0.1, which did not record the objects of each image.
    """
    problem = not_a_file(path)
    if problem is not None:
        raise FileNotFoundError(f"the dump {path} {problem}")
    try:
        content = load_archive(path)
    except Exception as error:  # whatever another kind of file leads to
        raise ValueError(f"{path} cannot be read as a dump of a training step (nonfinite_*.pt): {error}") from error
    if isinstance(content, dict) and "objects" in content:
        raise ValueError(f"{path} was written by querydet 0.1: replay it with that version")
    if not isinstance(content, dict) or set(KEYS) - set(content):
        raise ValueError(f"{path} is no dump of a training step (nonfinite_*.pt)")
    return content


def replay(model: nn.Module, dump: dict[str, Any]) -> list[str]:
    """Repeat forward and backward pass of a dumped step with the same weights and random draws.

    Args:
        model: the model of the run; its weights are replaced.
        dump: from `load_dump`.

    Returns:
        Lines of a report; those about NaN or infinity begin with "NaN or infinite".

    Raises:
        RuntimeError: the weights do not fit the model.
    """
    model.load_state_dict(dump["model"])
    model.train()
    device = next(model.parameters()).device
    dtype = getattr(torch, dump["amp"]) if dump["amp"] else None
    seed_everything(dump["seed"], dump["iteration"], dump["rank"])
    lines: list[str] = []
    handles = [
        module.register_forward_hook(_reporter(f"output of {name} ({type(module).__name__})", lines))
        for name, module in model.named_modules()
        if name
    ]
    try:
        for part in split_batch([_input(item) for item in dump["batch"]], dump["micro_batches"]):
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                losses = model(part, *_object_count(model, dump))
            for name, value in losses.items():
                lines.append(("" if value.isfinite() else "NaN or infinite: ") + f"{name} = {value.item():.6g}")
            sum(losses.values(), torch.zeros((), device=device)).backward()
    except FloatingPointError as error:
        lines.append(f"NaN or infinite: {error}")
    finally:
        for handle in handles:
            handle.remove()
    return lines + _gradient_lines(model)


def _object_count(model: nn.Module, dump: dict[str, Any]) -> tuple[ObjectCount, ...]:
    """Return the objects of the step over all processes, as the second argument of a model that takes them."""
    return (ObjectCount(**dump["object_count"]),) if getattr(model, "takes_object_count", False) else ()


def _input(item: dict[str, Any]) -> dict[str, Any]:
    found = dict(item)
    if "instances" in found:
        stored = found["instances"]
        instances = Instances(tuple(stored["image_size"]))
        instances.gt_boxes = Boxes(stored["gt_boxes"])
        instances.gt_classes = stored["gt_classes"]
        found["instances"] = instances
    return found


def _reporter(where: str, lines: list[str]) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in _tensors(output):
            bad = tensor.numel() - int(tensor.isfinite().sum())
            if bad:
                lines.append(f"NaN or infinite: {bad} of {tensor.numel()} numbers in the {where}")

    return hook


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _tensors([getattr(value, field.name) for field in fields(value)])


def _gradient_lines(model: nn.Module) -> list[str]:
    lines = []
    norms: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        norms.setdefault(name.partition(".")[0], []).append(parameter.grad.norm())
        if not parameter.grad.isfinite().all():
            lines.append(f"NaN or infinite: gradient of {name}")
    parts = ", ".join(f"{part} {torch.stack(values).norm().item():.4g}" for part, values in norms.items())
    return [*lines, f"gradient norms: {parts or 'none, the step ended before'}"]
