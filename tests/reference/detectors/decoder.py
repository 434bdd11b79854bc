"""Decoders on several levels: that of Deformable DETR and MS-DETR, and those of DN-DETR and DINO."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.reference.detectors.attention import deformable, multi_head
from tests.reference.detectors.boxes import inverse_sigmoid
from tests.reference.detectors.memory import Tokens
from tests.reference.detectors.proposals import embed_boxes
from tests.reference.detectors.run import Run, layer_name
from tests.reference.detectors.weights import Weights


@dataclass
class Queries:
    """What enters a decoder.

    Args:
        content: (B, N, C).
        position: (B, N, C), or None where each layer makes it from the boxes.
        boxes: (B, N, 4) boxes or (B, N, 2) points, in [0, 1].
        blocked: (N, N), True where a row may not attend, or None.
    """

    content: Tensor
    position: Tensor | None
    boxes: Tensor
    blocked: Tensor | None = None


@dataclass
class Memory:
    """The encoder's output (B, S, C), its tokens, and the heads of attention to it."""

    values: Tensor
    tokens: Tokens
    heads: int

    def place(self, boxes: Tensor) -> Tensor:
        """Boxes or points of images as those of each padded level, (B, N, L, 4 or 2)."""
        ratios = self.tokens.ratios[:, None]
        return boxes[:, :, None] * (torch.cat([ratios, ratios], -1) if boxes.shape[-1] == 4 else ratios)


class Layer:
    """The three steps of a decoder layer. Its norms are numbered as published: cross-attention has the first."""

    def __init__(self, weights: Weights, memory: Memory, blocked: Tensor | None) -> None:
        self.weights = weights
        self.memory = memory
        self.blocked = blocked

    def sa(self, x: Tensor, position: Tensor, reference: Tensor) -> Tensor:
        """Attend among queries."""
        attended = multi_head(self.weights.at("self_attn"), x + position, x, self.memory.heads, self.blocked)
        return self.weights.at("norm2").norm(x + attended)

    def ca(self, x: Tensor, position: Tensor, reference: Tensor) -> Tensor:
        """Attend to the memory."""
        tokens = self.memory.tokens
        attended = deformable(
            self.weights.at("cross_attn"),
            x + position,
            reference,
            self.memory.values,
            tokens.padding,
            tokens.shapes,
            self.memory.heads,
        )
        return self.weights.at("norm1").norm(x + attended)

    def ffn(self, x: Tensor, position: Tensor, reference: Tensor) -> Tensor:
        """Apply the feed-forward network."""
        return self.weights.at("norm3").norm(x + self.weights.feed_forward(x))

    def extra_ffn(self, x: Tensor) -> Tensor:
        """Apply the network that MS-DETR has before its one-to-many heads."""
        return self.weights.at("norm4").norm(x + self.weights.feed_forward(x, "linear3", "linear4"))


def shifted(delta: Tensor, start: Tensor, eps: float) -> Tensor:
    """Boxes that a head moves from boxes, or from points, which have a centre only."""
    logits = inverse_sigmoid(start, eps)
    if start.shape[-1] == 2:
        logits = torch.cat([logits, torch.zeros_like(logits)], -1)
    return (delta + logits).sigmoid()


@dataclass
class DeformableDecoder:
    """Deformable DETR's decoder, whose queries keep their position.

    Args:
        layers: number of layers.
        refine: whether each layer starts from the boxes of the last one.
        twice: whether the gradient of a layer's boxes reaches those of the last one (look forward twice).
        order: of the steps.
        one_to_many: the step after which MS-DETR's one-to-many branch leaves, or None.
        extra_ffn: whether that branch has a feed-forward network of its own.
        own_classes: whether that branch has class heads of its own.
        eps: of the inverse sigmoid.
    """

    layers: int
    refine: bool = True
    twice: bool = False
    order: tuple[str, ...] = ("sa", "ca", "ffn")
    one_to_many: str | None = None
    extra_ffn: bool = False
    own_classes: bool = False
    eps: float = 1e-5

    def __call__(self, weights: Weights, queries: Queries, memory: Memory, run: Run) -> None:
        """Add the predictions of all layers to a run."""
        x, boxes = queries.content, queries.boxes
        start = boxes  # of the predictions
        for index in range(self.layers):
            layer = Layer(weights.at("transformer.decoder.layers", index), memory, queries.blocked)
            branch = x
            for step in self.order:
                x = getattr(layer, step)(x, queries.position, memory.place(boxes))
                if step == self.one_to_many:
                    branch = layer.extra_ffn(x) if self.extra_ffn else x
            name = layer_name(index, self.layers)
            class_head, box_head = weights.at("class_embed", index), weights.at("bbox_embed", index)
            run.add(name, class_head.linear(x), shifted(box_head.mlp(x), start, self.eps))
            if self.one_to_many:
                many_head = weights.at("class_embed_o2m", index) if self.own_classes else class_head
                many_boxes = shifted(box_head.mlp(branch), start, self.eps)
                run.add(f"o2m/{name}", many_head.linear(branch), many_boxes)
            if self.refine:
                moved = shifted(box_head.mlp(x), boxes, self.eps)
                boxes = moved.detach()
                start = moved if self.twice else boxes


@dataclass
class AnchorDecoder:
    """DN-DETR's and DINO's decoders, whose queries take their position from their boxes.

    Args:
        layers: number of layers.
        output_norm: whether predictions are made from normalised queries, as in DINO.
        scale: whether the content scales the position after the first layer, as in DN-DETR.
        twice: whether the gradient of a layer's boxes reaches those of the last one.
        order: of the steps.
    """

    layers: int
    output_norm: bool
    scale: bool
    twice: bool
    order: tuple[str, ...] = ("sa", "ca", "ffn")
    eps: float = 1e-3

    def __call__(self, weights: Weights, queries: Queries, memory: Memory, run: Run) -> None:
        """Add the predictions of all layers to a run."""
        x, boxes = queries.content, queries.boxes
        start = boxes
        decoder = weights.at("transformer.decoder")
        for index in range(self.layers):
            reference = memory.place(boxes)
            cx, cy, w, h = reference[:, :, 0].unbind(-1)
            encoded = embed_boxes(torch.stack([cy, cx, w, h], -1), x.shape[-1] // 2)
            position = decoder.at("ref_point_head").mlp(encoded)
            if self.scale and index:
                position = position * decoder.at("query_scale").mlp(x)
            layer = Layer(decoder.at("layers", index), memory, queries.blocked)
            for step in self.order:
                x = getattr(layer, step)(x, position, reference)
            out = decoder.at("norm").norm(x) if self.output_norm else x
            box_head = weights.at("bbox_embed", index)
            logits = weights.at("class_embed", index).linear(out)
            run.add(layer_name(index, self.layers), logits, shifted(box_head.mlp(out), start, self.eps))
            moved = shifted(box_head.mlp(x), boxes, self.eps)
            boxes = moved.detach()
            start = moved if self.twice else boxes
