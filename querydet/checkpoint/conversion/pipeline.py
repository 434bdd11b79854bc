"""Conversion of a published file to one of ours, and its report."""

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from omegaconf import DictConfig
from torch import Tensor

from querydet.checkpoint.conversion.coco_classes import COCO_NAMES, NUM_IDS, select_coco_classes
from querydet.checkpoint.conversion.convert import Conversion, convert_state_dict
from querydet.checkpoint.conversion.fit import Fit, fit_config
from querydet.checkpoint.conversion.methods import class_head_of, find_method, has_no_object
from querydet.checkpoint.conversion.options import read_options
from querydet.checkpoint.conversion.verify import verify
from querydet.checkpoint.seal import seal
from querydet.checkpoint.settings import KEY, read_settings
from querydet.checkpoint.weights import check_finite, find_weights
from querydet.config import save_config
from querydet.utils.atomic import atomic_write

AUTHOR = "querydet, converted from the {} layout"


@dataclass(frozen=True)
class Converted:
    """Published weights under our names, with the config that they belong to.

    Args:
        conversion: the weights, and where every key went.
        fit: the config.
        settings: settings of the model that no shape determines, see `checkpoint.settings`.
        notes: messages for the user.
        class_names: by class index; empty if unknown.
    """

    conversion: Conversion
    fit: Fit
    settings: dict[str, Any]
    notes: tuple[str, ...]
    class_names: tuple[str, ...] = ()

    def extra(self) -> dict[str, Any]:
        """Return what a file stores besides the weights."""
        names = {"class_names": list(self.class_names)} if self.class_names else {}
        return {KEY: self.settings, **names}

    @property
    def state(self) -> dict[str, Tensor]:
        """Return the weights under our names."""
        return self.conversion.state

    def report(self) -> str:
        """Describe the conversion for the terminal."""
        lines = [f"layout: {self.conversion.family.name}", self.conversion.account(), f"config: {self.fit.recipe}"]
        lines += [f"  changed: {override}" for override in self.fit.overrides()]
        lines += [f"  not shown by any shape: {line}" for line in self.fit.statement()]
        if not self.fit.backbone:
            lines.append("note: the file has no backbone, which will have to come from elsewhere")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def convert_content(
    content: Mapping[str, Any],
    path: str = "the file",
    *,
    config: DictConfig | None = None,
    coco_classes: bool = False,
    ema: bool = False,
    allow_nonfinite: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Converted:
    """Convert the content of a published file.

    Args:
        content: from `reading.read_checkpoint`, or a state dict.
        path: of the file: for messages, and to find a `config.json` beside it.
        config: a complete config that the weights have to fit; None: choose one.
        coco_classes: keep COCO's 80 classes of 91 outputs.
        ema: use the moving average of the weights.
        allow_nonfinite: convert also NaN and infinite weights.
        options: options of the user, which override those of the file, under the names of `conversion.options`:
            `num_queries`, `num_heads`, `temperature` and `offset` of the position embedding.

    Returns:
        Weights that cover the config's model exactly.

    Raises:
        ValueError: the file has no weights, an unknown layout, unknown or missing keys, copies that differ, shapes or
            settings that contradict the config, or values that are not finite.
    """
    weights = find_weights(content, path, ema=ema)
    notes = list(weights.notes)
    if weights.other:
        notes.append(f"the weights under {weights.source!r} were taken, and not the average {weights.other!r} (--ema)")
    if not allow_nonfinite:
        check_finite(weights.state, path)
    conversion = convert_state_dict(weights.state)
    stored = read_options(content, path, conversion.state, notes)
    asked = {key: value for key, value in (options or {}).items() if value is not None}
    known = stored | asked
    if "temperature" in asked:  # of height and width
        known.pop("temperature_w", None)
    if coco_classes:
        objectness = find_method(conversion.state, known) != "dino"
        conversion.state = select_coco_classes(conversion.state, objectness, has_no_object(conversion.state))
    fit = fit_config(conversion, known, config)
    if not stored and config is None:
        conversion.notes.append(fit.guesses())
    expected = fit.cfg.model.num_classes
    actual = len(conversion.state[class_head_of(conversion.state)]) - has_no_object(conversion.state)
    if actual == NUM_IDS:
        hint = "the 91 outputs are COCO's category ids; --select-coco-classes keeps its 80 classes"
        if expected != actual:
            raise ValueError(f"the config has {expected} classes, the weights {actual}: {hint}")
        conversion.notes.append(hint)
    model = verify(conversion, fit.cfg.model, fit.backbone)
    names = COCO_NAMES if coco_classes else ()
    return Converted(conversion, fit, read_settings(model), (*notes, *conversion.notes), names)


def save_converted(converted: Converted, destination: str) -> list[str]:
    """Write converted weights, a `.safetensors` copy, and the config beside them.

    Args:
        converted: from `convert_content`.
        destination: `.pkl` (as in Detectron2's model zoo), `.pth` or `.safetensors`.

    Returns:
        Paths of the written files.

    Raises:
        ValueError: the destination has another suffix.
        OSError: the files cannot be written.
    """
    author = AUTHOR.format(converted.conversion.family.name)
    written = save_weights(converted.state, destination, {"author": author, **converted.extra()})
    config = os.path.splitext(destination)[0] + ".yaml"
    if converted.fit.backbone:
        save_config(converted.fit.cfg, config)
        written.append(config)
    return written


def save_weights(
    state: Mapping[str, Tensor], destination: str, extra: Mapping[str, Any], *, copy: bool = True
) -> list[str]:
    """Write weights in the format of Detectron2's model zoo, and with `copy` also as `.safetensors`.

    Args:
        state: the weights.
        destination: `.pkl`, `.pth` or `.safetensors`.
        extra: plain values to store with the weights; `author` is required.
        copy: whether to write a `.safetensors` file besides one of another format.

    Returns:
        Paths of the written files.

    Raises:
        ValueError: the destination has another suffix.
        OSError: the files cannot be written.
    """
    stem, kind = os.path.splitext(destination)
    if kind not in (".pkl", ".pth", ".safetensors"):
        raise ValueError(f"the destination {destination} has to end in .pkl, .pth or .safetensors")
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    rest = {"__author__": extra["author"], **{key: value for key, value in extra.items() if key != "author"}}
    if kind == ".pkl":
        arrays = {name: value.numpy() for name, value in plain.items()}
        with atomic_write(destination) as file:
            pickle.dump({"model": arrays, **rest}, file, protocol=4)
    elif kind == ".pth":
        with atomic_write(destination) as file:
            torch.save({"model": plain, **rest}, file)
            seal(file)
    written = [] if kind == ".safetensors" else [destination]
    if copy or not written:
        metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in extra.items()}
        with atomic_write(stem + ".safetensors") as file:
            file.write(safetensors.torch.save(plain, {"format": "pt", **metadata}))
        written.append(stem + ".safetensors")
    return written
