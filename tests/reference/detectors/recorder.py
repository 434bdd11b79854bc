"""Passes of a method in the format of the recordings of the published implementations.

The parameters say in which precision; what is recorded has float32.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tests.reference.detectors import methods
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.hybrid import h_detr
from tests.reference.detectors.methods import Method, Options
from tests.reference.detectors.run import Objects, Run
from tests.reference.detectors.weights import Weights

METHODS: dict[str, Callable[[Options, Options], Method]] = {  # by the adapter of the recordings
    "deformable": methods.deformable,
    "ms_detr": methods.ms_detr,
    "ms_detr_impl_a": partial(methods.ms_detr, implementation="a"),
    "deta": methods.deta,
    "dino": methods.dino,
    "dn_dab_deformable": methods.dn_detr,
    "dn_deformable_encoder_only": methods.dn_deformable_encoder,
    "group_detr_official": methods.group_detr,
    "detrex_h_deformable": h_detr,
}


def leaves_of(state: dict[str, Tensor], shared: list[list[str]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Leaves of a state dict; names that are of one parameter get one leaf."""
    first = {name: names[0] for names in shared for name in names}
    leaves = {
        name: value.clone().to(dtype).requires_grad_() for name, value in state.items() if first.get(name, name) == name
    }
    return {name: leaves[first.get(name, name)] for name in state}


def _outputs(run: Run, prefix: str) -> dict[str, Tensor]:
    found = {}
    for name, outputs in run.outputs.items():
        found[f"{prefix}{name}pred_logits"], found[f"{prefix}{name}pred_boxes"] = outputs.logits, outputs.boxes
        if outputs.anchors is not None:
            found[f"{prefix}{name}anchors"] = outputs.anchors
    return found


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without history, floating point ones in float32."""
    return {
        name: (value.float() if value.is_floating_point() else value).detach().clone()
        for name, value in tensors.items()
    }


@torch.no_grad()
def evaluate(
    method: Method, state: dict[str, Tensor], features: list[Tensor], padding: Tensor, sizes: list[tuple[int, int]]
) -> tuple[dict[str, Tensor], int]:
    """What recordings have under "eval/", and the number of selected tokens of equal score."""
    if not method.padding_in_evaluation:
        padding = torch.zeros_like(padding)
    dtype = next(iter(state.values())).dtype
    run, _ = method.forward(Weights(state), [one.to(dtype) for one in features], padding, None, Draws())
    found = _outputs(run, "eval/") | {f"eval/{name}": value for name, value in run.middle.items()}
    last = run.outputs[""]
    for image, size in enumerate(sizes):
        detections = method.detect(last.logits[image], last.boxes[image], size)
        found |= {
            f"eval/post/{image}/{name}": value
            for name, value in zip(("scores", "labels", "boxes"), detections, strict=True)
        }
    return plain(found), run.ties


@torch.enable_grad()
def train(
    method: Method,
    state: dict[str, Tensor],
    features: list[Tensor],
    padding: Tensor,
    targets: list[Objects],
    draws: Draws,
) -> dict[str, Tensor]:
    """What recordings have under such as "trainA/", with the gradient of every parameter."""
    dtype = next(iter(state.values())).dtype
    leaves = [one.clone().to(dtype).requires_grad_() for one in features]
    targets = [Objects(one.labels, one.boxes.to(dtype)) for one in targets]
    run, noised = method.forward(Weights(state), leaves, padding, targets, draws)
    method.supervise(run, targets, draws, noised)
    weighted = {name: value * method.weights[name] for name, value in run.losses.items()}
    total = torch.stack(list(weighted.values())).sum()
    for leaf in (*state.values(), *leaves):
        leaf.grad = None
    total.backward()
    found = _outputs(run, "out/") | run.middle | {"total": total}
    if "init_reference" in found:
        found["out/init_reference"] = found.pop("init_reference")
    found |= {f"loss/{name}": value for name, value in run.losses.items()}
    found |= {f"wloss/{name}": value for name, value in weighted.items()}
    found |= {f"rng/{name}": value for name, value in draws.log.items()}
    for name, images in run.matches.items():
        found |= {f"match/{name}/{image}": pairs for image, pairs in enumerate(images)}
    gradients = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in state.items()}
    found |= {f"grad/{name}": value for name, value in gradients.items()}
    found |= {f"grad_feat/{level}": leaf.grad for level, leaf in enumerate(leaves)}
    return plain(found)
