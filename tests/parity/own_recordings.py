"""Runs of the oracles of `tests/reference/detectors` in our own configurations, as recordings in memory."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.parity.own_configurations import Configuration, configurations
from tests.reference.detectors import hybrid, parameters
from tests.reference.detectors.aliases import aliases
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.recorder import METHODS, evaluate, leaves_of, train
from tests.reference.detectors.run import Objects

SHAPES: dict[str, Callable[[Any, list[int]], parameters.Shapes]] = {
    "deformable": parameters.deformable,
    "ms_detr": parameters.deformable,
    "ms_detr_impl_a": functools.partial(parameters.deformable, own_classes=True),
    "deta": functools.partial(parameters.deformable, pixels=True),
    "dino": parameters.anchors,
    "dn_dab_deformable": parameters.anchors,
    "dn_deformable_encoder_only": parameters.levelwise,
    "group_detr_official": parameters.conditional,
    "detrex_h_deformable": hybrid.shapes,
}
BOTH = ("class_embed", "bbox_embed")
NEAR = 0.8  # share of the objects that are near predictions
LARGER = 0.8  # logit that is added to widths and heights, for predictions that overlap


def second_names(configuration: Configuration, names: list[str]) -> list[list[str]]:
    """The names that the published state dict has for one parameter."""
    options, adapter = configuration.options, configuration.adapter
    if adapter == "dino":
        return aliases(names, one_head=options["dec_pred_class_embed_share"], decoder_has=BOTH)
    if adapter == "deformable" and not options["two_stage"]:
        refined = options["with_box_refine"]
        return aliases(names, one_head=not refined, decoder_has=("bbox_embed",) if refined else ())
    if adapter == "dn_dab_deformable":
        return aliases(names, decoder_has=("bbox_embed",))
    if adapter == "dn_deformable_encoder_only":
        return [[name, f"transformer.decoder.{name}"] for name in names if name.startswith("bbox_embed.")]
    if adapter == "ms_detr_impl_a":
        return aliases(names, decoder_has=BOTH, boxes_of_branch=options["dec_layers"])
    return aliases(names, decoder_has=BOTH)


def random_state(configuration: Configuration, generator: torch.Generator) -> tuple[dict[str, Tensor], list[list[str]]]:
    """A state dict, and its groups of names that are of one parameter."""
    channels = [width for width, _ in configuration.batch.maps]
    values = parameters.random_values(SHAPES[configuration.adapter](configuration.options, channels), generator)
    for name in values:
        if "bbox_embed" in name and name.endswith("layers.2.bias"):
            values[name][2:] += LARGER
    shared = second_names(configuration, list(values))
    for first, *others in shared:
        values |= dict.fromkeys(others, values[first])
    return values, shared


def random_maps(configuration: Configuration, generator: torch.Generator) -> dict[str, Tensor]:
    """Maps of the backbone, in the padding too, and the padding of the images."""
    sizes = configuration.batch.sizes
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    padding = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for image, (h, w) in enumerate(sizes):
        padding[image, :h, :w] = False
    found = {
        "in/images": torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8),
        "in/pad_mask": padding,
        "in/sizes": torch.tensor(sizes),
        "in/orig_sizes": torch.tensor([(2 * h + 3, 3 * w - 5) for h, w in sizes]),
    }
    for level, (channels, stride) in enumerate(configuration.batch.maps):
        shape = len(sizes), channels, math.ceil(height / stride), math.ceil(width / stride)
        found[f"feat/{level}"] = torch.randn(shape, generator=generator)
    return found


def random_objects(counts: tuple[int, ...], classes: int, near: Tensor, generator: torch.Generator) -> list[Objects]:
    """So many objects of each image, most of them near some of its boxes (B, N, 4)."""
    found = []
    for image, count in enumerate(counts):
        boxes = torch.rand(count, 4, generator=generator) * 0.5 + 0.15
        for number in range(count):
            if torch.rand((), generator=generator) < NEAR:
                box = near[image, torch.randint(near.shape[1], (), generator=generator)]
                noise = torch.randn(4, generator=generator)
                moved = torch.cat([box[:2] + 0.1 * box[2:] * noise[:2], box[2:] * (0.15 * noise[2:]).exp()])
                boxes[number] = torch.where((moved > 0.02) & (moved < 0.95), moved, boxes[number])
        sides = torch.minimum(boxes[:, 2:], 2 * torch.minimum(boxes[:, :2], 1 - boxes[:, :2]))
        labels = torch.randint(classes, (count,), generator=generator)
        found.append(Objects(labels, torch.cat([boxes[:, :2], sides], 1)))
    return found


def _near(evaluation: dict[str, Tensor]) -> Tensor:
    """Boxes that objects may be near: those that assignments compare with them."""
    kinds = ("eval/init_reference", "eval/o2m/pred_boxes", "eval/pred_boxes")
    return next(evaluation[kind] for kind in kinds if kind in evaluation)


def _unused(key: str, value: Tensor, largest: float) -> bool:
    """Whether a gradient is nothing but rounding, as that of a bias before a norm of single channels."""
    return key.startswith("grad/") and float(value.norm()) < 1e-6 * largest


@functools.cache
def record(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of one of our configurations, in the format of the recordings."""
    return run(configurations()[name], torch.float64)


def run(configuration: Configuration, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Compute a recording in some precision."""
    generator = torch.Generator().manual_seed(configuration.seed)
    state, shared = random_state(configuration, generator)
    method = METHODS[configuration.adapter](configuration.options, configuration.constants)
    tensors = random_maps(configuration, generator)
    leaves = leaves_of(state, shared, dtype)
    features = [value for key, value in tensors.items() if key.startswith("feat/")]
    padding, sizes = tensors["in/pad_mask"], [tuple(size) for size in tensors["in/orig_sizes"].tolist()]
    evaluation, ties = evaluate(method, leaves, features, padding, sizes)
    tensors |= {f"state/{key}": value for key, value in state.items()} | evaluation
    aliased = {other for _, *others in shared for other in others}
    names = [key for key in state if key not in aliased]
    batch = configuration.batch
    for index, counts in enumerate((batch.objects, batch.crowd, (0,) * len(batch.sizes))):
        which = "ABC"[index]
        objects = random_objects(counts, configuration.options["num_classes"], _near(evaluation), generator)
        for image, one in enumerate(objects):
            tensors |= {f"tgt{which}/{image}/labels": one.labels, f"tgt{which}/{image}/boxes": one.boxes}
        draws = Draws(seed=1000 * configuration.seed + index)
        passed = train(method, leaves, features, padding, objects, draws)
        passed = {key: value for key, value in passed.items() if key.removeprefix("grad/") not in aliased}
        passed["grad_norms"] = torch.stack([passed[f"grad/{key}"].norm() for key in names])
        largest = float(passed["grad_norms"].max())
        passed = {key: value for key, value in passed.items() if not _unused(key, value, largest)}
        tensors |= {f"train{which}/{key}": value for key, value in passed.items()}
    kind = "deta_consts" if configuration.adapter == "deta" else "criterion"
    description = {
        "adapter": configuration.adapter,
        "config": configuration.options,
        "fixture_cfg": {kind: configuration.constants} if configuration.constants else {},
        "grad_norm_names": names,
        "loss_weights": method.weights,
        "stability": {"invalid_in_topk": ties},
        "state_shared": shared,
    }
    return description, tensors
