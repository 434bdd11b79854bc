"""The second stream of a decoder: the same queries through the same layers, without self-attention (DAC-DETR).

Self-attention lets one query of an object suppress the others, while cross-attention draws several queries to it. The
second stream leaves out the former, so that its one-to-many supervision trains cross-attention alone (DAC-DETR, NeurIPS
2023, calls it C-Decoder, and the ordinary stream O-Decoder). It has no weights of its own, and inference does without.
"""

from dataclasses import replace

import torch
from torch import Tensor

from querydet.modeling.decoder.group_attention import AttentionPlan
from querydet.modeling.decoder.layer import DecoderLayer
from querydet.structures import DecoderLayerOutput, QueryBatch, TokenPyramid


class SecondStream:
    """Runs layers for two streams of Q queries each, side by side as 2Q rows, the ordinary ones first.

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

    def run(
        self,
        layer: DecoderLayer,
        is_first: bool,
        content: Tensor,
        position: Tensor,
        reference: Tensor | None,
        memory: TokenPyramid,
        plan: AttentionPlan,
        branch_rows: tuple[slice, ...] = (),
    ) -> tuple[Tensor, Tensor | None]:
        """Update the content (B, 2Q, C) of both streams.

        Args:
            layer: the layer.
            is_first: whether it is the first one.
            content: (B, 2Q, C).
            position: (B, 2Q, C).
            reference: of 2Q queries, see `TokenAttention`.
            memory: encoded image features.
            plan: which of the Q queries of the ordinary stream may attend to which.
            branch_rows: see `DecoderLayer.forward`; rows of the ordinary stream.
        """
        hidden, start, rows = None, content, content.shape[1] // 2
        for step in layer.order:
            if step == "self_attention":
                own = layer.run(step, content[:, :rows], position[:, :rows], None, memory, plan, start[:, :rows])
                starts = is_first and step == layer.order[0]
                content = torch.cat([own, own if starts else content[:, rows:]], dim=1)
            else:
                content = layer.run(step, content, position, reference, memory, plan, start)
            hidden = layer.branch_off(step, content, branch_rows, hidden)
        return content, hidden

    def split(self, output: DecoderLayerOutput) -> DecoderLayerOutput:
        """Return the output of the ordinary stream, with that of the second one, from the output for 2Q rows."""
        hidden, reference, base = (
            values.chunk(2, dim=1) for values in (output.hidden, output.reference_boxes, output.base_boxes)
        )
        second = DecoderLayerOutput(hidden[1], reference[1], base[1])
        return DecoderLayerOutput(hidden[0], reference[0], base[0], output.one_to_many, second)


def _twice(values: Tensor) -> Tensor:
    return torch.cat([values, values], dim=1)
