"""The second stream of a decoder: the same queries through the same layers, without self-attention (DAC-DETR).

Self-attention lets one query of an object suppress the others, while cross-attention draws several queries to it. The
second stream leaves out the former, so that its one-to-many supervision trains cross-attention alone (DAC-DETR, NeurIPS
2023, calls it C-Decoder, and the ordinary stream O-Decoder). It has no weights of its own, and inference does without.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from querydet.modeling.decoder.group_attention import AttentionPlan, Update
from querydet.modeling.decoder.layer import DecoderLayer
from querydet.structures import DecoderLayerOutput, QueryBatch


@dataclass(frozen=True, slots=True)
class TwoStreamPlan:
    """How the self-attention of a layer is computed for two streams of Q queries: the second stream has none."""

    plan: AttentionPlan  # of the ordinary stream
    starts: bool  # whether the second stream starts behind this self-attention, from the ordinary content

    def update(self, update: Update, content: Tensor, position: Tensor) -> Tensor:
        """Return the content (B, 2Q, C) of both streams; the arguments are those of `AttentionPlan.update`."""
        rows = content.shape[1] // 2
        own = self.plan.update(update, content[:, :rows], position[:, :rows])
        return torch.cat([own, own if self.starts else content[:, rows:]], dim=1)


class SecondStream:
    """Lets layers run two streams of Q queries each, side by side as 2Q rows, the ordinary ones first.

    The streams share every weight, and each refines boxes of its own. The second one starts in the first layer, from
    the ordinary content before the first step that is not self-attention.
    """

    def double(self, queries: QueryBatch) -> QueryBatch:
        """Return the queries of both streams; the groups are those of the ordinary one."""
        return replace(
            queries,
            content=_twice(queries.content),
            boxes=_twice(queries.boxes),
            position=None if queries.position is None else _twice(queries.position),
        )

    def plan(self, plan: AttentionPlan, layer: DecoderLayer, index: int) -> TwoStreamPlan:
        """Return how the self-attention of a layer is computed for both streams.

        Args:
            plan: which of the Q queries of the ordinary stream may attend to which.
            layer: the layer.
            index: its index.
        """
        return TwoStreamPlan(plan, starts=index == 0 and layer.order[0] == "self_attention")

    def split(self, output: DecoderLayerOutput) -> DecoderLayerOutput:
        """Return the output of the ordinary stream, with that of the second one, from the output for 2Q rows."""
        hidden, reference, base = (
            values.chunk(2, dim=1) for values in (output.hidden, output.reference_boxes, output.base_boxes)
        )
        second = DecoderLayerOutput(hidden[1], reference[1], base[1])
        return DecoderLayerOutput(hidden[0], reference[0], base[0], output.one_to_many, second)


def _twice(values: Tensor) -> Tensor:
    return torch.cat([values, values], dim=1)
