"""Heads of detectors that predict classes and masks, and no boxes (Mask2Former, arXiv 2112.01527)."""

import torch
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision, in_full_precision
from querydet.modeling.no_object import SOFTMAX
from querydet.structures import DecoderLayerOutput, PredictionSet, QueryGroup, Stage

CENTRE = 0.5  # of the image, normalised


class ClassHeads(nn.Module):
    """One classifier with an output for no object, for all layers; the box of every query is the whole image.

    The logits are those of `querydet.modeling.no_object`.

    Args:
        num_classes: K; the classifier has K + 1 outputs, with the initial weights of torch's layers.
        embed_dim: width C.
    """

    score_function = SOFTMAX
    predicts_boxes = False
    num_layers = None  # any: all layers share the classifier

    def __init__(self, *, num_classes: int, embed_dim: int = 256) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.class_head = nn.Linear(embed_dim, num_classes + 1)

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return self.class_head.out_features - 1

    def classify(self, hidden: Tensor) -> Tensor:
        """Return class logits (B, Q, K), less the output for no object, from hidden states (B, Q, C)."""
        outputs = in_full_precision(self.class_head, hidden)
        return outputs[..., :-1] - outputs[..., -1:]

    def refine(self, layer: int, hidden: Tensor, reference: Tensor) -> Tensor:
        """Return the box (B, Q, 4) of the whole image for every query."""
        sides = full_precision(hidden[..., :2])  # filled on its device: a copy from the host would wait for it
        return torch.cat([torch.full_like(sides, CENTRE), torch.ones_like(sides)], dim=-1)

    def forward(
        self, outputs: tuple[DecoderLayerOutput, ...], groups: tuple[QueryGroup, ...], last_only: bool
    ) -> tuple[PredictionSet, ...]:
        """Predict for every group after every layer, or after the last layer only.

        Args:
            outputs: of all decoder layers.
            groups: the query groups that the hidden states belong to.
            last_only: whether to predict after the last layer only.

        Raises:
            ValueError: the decoder has a further branch, whose predictions are supervised by boxes.
        """
        if any(output.one_to_many or output.second_stream for output in outputs):
            raise ValueError("ClassHeads predict no boxes, by which further branches of a decoder are supervised")
        layers = range(len(outputs) - 1 if last_only else 0, len(outputs))
        return tuple(self._predict(layer, outputs, group) for layer in layers for group in groups)

    def _predict(self, layer: int, outputs: tuple[DecoderLayerOutput, ...], group: QueryGroup) -> PredictionSet:
        hidden = outputs[layer].hidden[:, group.rows]
        start_boxes = outputs[0].reference_boxes[:, group.rows]
        return PredictionSet(
            stage=Stage.DECODER,
            layer=layer,
            is_last=layer == len(outputs) - 1,
            group=group,
            logits=self.classify(hidden),
            boxes=self.refine(layer, hidden, start_boxes),
            start_boxes=start_boxes,
            hidden=hidden,
        )
