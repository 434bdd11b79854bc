"""What all decoders have in common: a stack of layers, and references that may move from layer to layer."""

from torch import Tensor, nn

from querydet.modeling.decoder.group_attention import plan_attention
from querydet.modeling.decoder.layer import QueryLayer
from querydet.modeling.heads import PredictionHeads
from querydet.modeling.layers.stack import run_layer, stack_layers
from querydet.structures import BranchInput, DecoderLayerOutput, QueryBatch, QueryGroup, TokenPyramid


class QueryDecoder(nn.Module):
    """A stack of decoder layers, with iterative box refinement or without.

    A kind of attention is a subclass, which says what its layers are told of the queries' places: :meth:`look`.

    Between layers the references are detached, so that each layer learns its own step. What a layer's *prediction*
    refines is a separate choice: the detached reference, or with ``look_forward_twice`` the same box with its
    gradient, so that the loss of a layer also reaches the step before it (DINO, section 3.5).

    Args:
        layer: the first layer; the others are made like it.
        num_layers: number of layers D.
        query_position: makes positional queries before every layer, as :class:`querydet.modeling.decoder.BoxPosition`
            does;
            None: the queries bring fixed ones.
        output_norm: apply a layer norm, shared by all layers, to what the heads read. The references are refined from
            the hidden state before it (released code of DINO and DAB-DETR).
        refine_boxes: move the references after each layer; otherwise all layers keep the first ones.
        look_forward_twice: see above.
        activation_checkpointing: recompute each layer in the backward pass instead of keeping its activations.

    Raises:
        ValueError: for look_forward_twice without refine_boxes.
    """

    def __init__(
        self,
        *,
        layer: QueryLayer,
        num_layers: int = 6,
        query_position: nn.Module | None = None,
        output_norm: bool = False,
        refine_boxes: bool = True,
        look_forward_twice: bool = False,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if look_forward_twice and not refine_boxes:
            raise ValueError("look_forward_twice needs refine_boxes: without it there is no step to look back to")
        self.layers = stack_layers(layer, num_layers)
        self.query_position = query_position
        self.norm = nn.LayerNorm(layer.embed_dim) if output_norm else nn.Identity()
        self.refine_boxes = refine_boxes
        self.look_forward_twice = look_forward_twice
        self.activation_checkpointing = activation_checkpointing

    def forward(
        self, queries: QueryBatch, memory: TokenPyramid, heads: PredictionHeads, read_out: bool = False
    ) -> tuple[DecoderLayerOutput, ...]:
        """Run all layers and return what the heads read after each.

        Args:
            queries: initial queries.
            memory: encoded image features.
            heads: move the references between layers.
            read_out: also read what one-to-many heads read, where the layers are made for it.
        """
        content, boxes, base = queries.content, queries.boxes, queries.boxes
        plan = plan_attention(queries.groups, boxes.device)
        read = self._read_groups(queries.groups) if read_out else ()
        rows = tuple(group.rows for group in read)
        outputs: list[DecoderLayerOutput] = []
        for index, layer in enumerate(self.layers):
            position, place = self.look(queries, boxes, memory, content, index)
            content, hidden = run_layer(
                layer, self.activation_checkpointing, content, position, place, memory, plan, rows
            )
            outputs.append(
                DecoderLayerOutput(
                    hidden=self.norm(content),
                    reference_boxes=boxes,
                    base_boxes=base,
                    one_to_many=None if hidden is None else BranchInput(self.norm(hidden), read),
                )
            )
            if self.refine_boxes and index + 1 < len(self.layers):
                refined = heads.refine(index, content, boxes)
                boxes = refined.detach()
                base = refined if self.look_forward_twice else boxes
        return tuple(outputs)

    def _read_groups(self, groups: tuple[QueryGroup, ...]) -> tuple[QueryGroup, ...]:
        read_out = self.layers[0].read_out
        return () if read_out is None else read_out.reads(groups)  # type: ignore[union-attr, operator]

    def look(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """What a layer is told: positional queries (B, Q, C), and where in the image its cross-attention looks.

        Args:
            queries: the initial queries.
            boxes: (B, Q, 4 or 2), the references now.
            memory: encoded image features.
            content: (B, Q, C), now.
            layer: its number.
        """
        raise NotImplementedError

    def position(self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int) -> Tensor:
        """Positional queries (B, Q, C): those that the queries bring, or made of the boxes; arguments of :meth:`look`.

        Raises:
            ValueError: nothing makes them.
        """
        if self.query_position is not None:
            return self.query_position(boxes, memory.valid_ratios[:, 0], content, layer)
        if queries.position is None:
            raise ValueError(
                "the queries have no positional part and the decoder has no query_position to make one from their "
                "boxes: give the decoder a query_position or the selection a box_embedding"
            )
        return queries.position
