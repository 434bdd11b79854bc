"""Two-stage selection: every token proposes a box, and the best become queries (Deformable DETR, appendix A.4)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.reference.detectors.boxes import corners, suppress
from tests.reference.detectors.memory import Tokens, waves
from tests.reference.detectors.weights import Weights


@dataclass
class Proposals:
    """What the encoder's tokens propose.

    Args:
        features: (B, S, C).
        logits: (B, S, K).
        boxes: (B, S, 4), logits; infinite where a token may not propose.
        anchors: (B, S, 4).
        usable: (B, S).
    """

    features: Tensor
    logits: Tensor
    boxes: Tensor
    anchors: Tensor
    usable: Tensor


def propose(weights: Weights, memory: Tensor, tokens: Tokens, class_head: Weights, box_head: Weights) -> Proposals:
    """Proposals of all tokens: a box of its own at each, as large as its level is coarse."""
    anchors = []
    for level, centre in enumerate(tokens.centres()):
        place = centre / tokens.valid[:, level, None]
        anchors.append(torch.cat([place, torch.full_like(place, 0.05 * 2**level)], -1))
    boxes = torch.cat(anchors, 1)
    usable = ((boxes > 0.01) & (boxes < 0.99)).all(-1) & ~tokens.padding
    logits = torch.where(usable[..., None], torch.log(boxes / (1 - boxes)), float("inf"))
    transformer = weights.at("transformer")
    features = transformer.at("enc_output").linear(memory * usable[..., None])
    features = transformer.at("enc_output_norm").norm(features)
    return Proposals(
        features=features,
        logits=class_head.linear(features),
        boxes=box_head.mlp(features) + logits,
        anchors=logits.sigmoid(),
        usable=usable,
    )


def rows(values: Tensor, index: Tensor) -> Tensor:
    """The rows (B, N, ...) of values (B, S, ...) that an index (B, N) names."""
    return torch.stack([one[chosen] for one, chosen in zip(values, index, strict=True)])


def best(scores: Tensor, count: int) -> Tensor:
    """Indices (B, N) of the highest scores (B, S), best first."""
    return scores.topk(count, dim=1).indices


def suppressed(proposals: Proposals, shapes: list, count: int, candidates: int, threshold: float) -> Tensor:
    """DETA's selection (arXiv 2212.06137, section 3.3): suppression in each level, and a share of queries for each."""
    chosen = []
    for logits, boxes in zip(proposals.logits[..., 0].detach(), proposals.boxes.detach(), strict=True):
        level_of = torch.cat([torch.full((h * w,), level) for level, (h, w) in enumerate(shapes)])
        edges = corners(boxes.sigmoid()).clamp(0, 1)
        kept: list[int] = []
        for level in range(len(shapes)):
            (own,) = (level_of == level).nonzero(as_tuple=True)
            own = own[logits[own].topk(min(candidates, len(own))).indices]
            kept += own[suppress(edges[own], logits[own], threshold)].tolist()
        kept.sort(key=lambda token: -float(logits[token]))
        if len(kept) < count:
            kept = logits.topk(count).indices.tolist()
        marked: list[int] = []
        for level in range(len(shapes)):
            marked += [token for token in kept if level_of[token] == level][: count // len(shapes)]
        marked += [token for token in kept if token not in marked][: count - len(marked)]
        chosen.append(torch.tensor([token for token in kept if token in marked]))
    return torch.stack(chosen)


def embed_boxes(boxes: Tensor, width: int) -> Tensor:
    """Sine encoding of the four numbers of boxes, each in ``width`` channels, in their order."""
    return torch.cat([waves(number * 2 * math.pi, width, 10000.0) for number in boxes.unbind(-1)], -1)
