"""The stack of layers that all decoders share, and the refinement of references from layer to layer.

Sources: DAB-DETR (arXiv 2201.12329: positional queries from boxes), Deformable DETR (arXiv 2010.04159, appendix A.4:
box refinement) and DINO (arXiv 2203.03605, section 3.5: look forward twice).
"""

from torch import Tensor, nn

from querydet.modeling.decoder.group_attention import plan_attention
from querydet.modeling.decoder.layer import DecoderLayer
from querydet.modeling.decoder.second_stream import SecondStream
from querydet.modeling.layers.stack import run_layer, stack_layers
from querydet.parts import Heads
from querydet.structures import BranchInput, DecoderLayerOutput, QueryBatch, QueryGroup, TokenPyramid
from querydet.traits import trait

LAYERS = {  # functions of `querydet.modeling.decoder` whose layers read references of a kind
    "none": ("detr_decoder_layer",),
    "embedded": ("conditional_decoder_layer", "levelwise_decoder_layer"),
    "places": ("deformable_decoder_layer",),
    "masks": ("masked_decoder_layer",),
}


class QueryDecoder(nn.Module):
    """A stack of decoder layers, with iterative box refinement or without.

    There is a subclass for each kind of cross-attention, whose inputs it makes in `positional_inputs`.

    Between layers the references are detached, so that each layer learns its own refinement. A layer's *prediction*
    refines the detached reference, or with `look_forward_twice` the same box with its gradient, so that the loss of a
    layer also trains the refinement of the layer before it (DINO, section 3.5).

    Args:
        layer: the first layer; the others have equal settings and initial weights of their own.
        num_layers: number of layers.
        query_position: makes positional queries before every layer, such as `querydet.modeling.decoder.BoxPosition`;
            None: the queries bring fixed ones.
        output_norm: whether a layer norm, shared by all layers, precedes the heads. The references are refined from
            the hidden state before it (released code of DINO and DAB-DETR).
        refine_boxes: whether the references move after each layer; False: all layers keep the first ones.
        look_forward_twice: whether a prediction refines the reference with its gradient.
        activation_checkpointing: whether to recompute each layer in the backward pass instead of keeping its
            activations.
        second_stream: runs the queries a second time without self-attention, in training; None: no second stream.

    Raises:
        ValueError: for look_forward_twice without refine_boxes, or a cross-attention that reads other references than
            this decoder makes.
    """

    # what `positional_inputs` makes for the cross-attention: "none", "embedded" or "places"; None: any attention may be
    references: str | None = None

    def __init__(
        self,
        *,
        layer: DecoderLayer,
        num_layers: int = 6,
        query_position: nn.Module | None = None,
        output_norm: bool = False,
        refine_boxes: bool = True,
        look_forward_twice: bool = False,
        activation_checkpointing: bool = False,
        second_stream: SecondStream | None = None,
    ) -> None:
        super().__init__()
        if look_forward_twice and not refine_boxes:
            raise ValueError("look_forward_twice needs refine_boxes: without it there is no step to look back to")
        self._check_references(layer)
        self.layers = stack_layers(layer, num_layers)
        self.query_position = query_position
        self.norm = nn.LayerNorm(layer.embed_dim) if output_norm else nn.Identity()
        self.refine_boxes = refine_boxes
        self.look_forward_twice = look_forward_twice
        self.activation_checkpointing = activation_checkpointing
        self.second_stream = second_stream

    def _check_references(self, layer: DecoderLayer) -> None:
        read = getattr(layer.cross_attention, "references", self.references)
        if self.references is not None and read != self.references:
            raise ValueError(
                f"{type(self).__name__} gives its cross-attention {self.references} references, but "
                f"{type(layer.cross_attention).__name__} reads {read} ones: set model.decoder.layer._target_ to "
                f"{' or '.join(LAYERS[self.references])}"
            )

    @property
    def first_layer(self) -> DecoderLayer:
        """The first layer, whose settings all layers have."""
        layer = self.layers[0]
        assert isinstance(layer, DecoderLayer)
        return layer

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def embed_dim(self) -> int:
        """C, the width of the queries."""
        return self.first_layer.embed_dim

    @property
    def embeds_boxes(self) -> bool:
        """True where positional queries are made from the current boxes."""
        return self.query_position is not None

    @property
    def has_one_to_many(self) -> bool:
        """True where the layers have a one-to-many branch."""
        return self.first_layer.read_out is not None

    @property
    def has_second_stream(self) -> bool:
        """True where queries also run without self-attention in training."""
        return self.second_stream is not None

    @property
    def reads_tokens(self) -> bool:
        """True where the layers have a cross-attention that reads tokens."""
        return bool(trait(self.first_layer.cross_attention, "reads_tokens"))

    def forward(
        self, queries: QueryBatch, memory: TokenPyramid, heads: Heads, one_to_many: bool = False
    ) -> tuple[DecoderLayerOutput, ...]:
        """Run all layers and return the output of each.

        Args:
            queries: initial queries.
            memory: encoded image features.
            heads: refine the references between layers.
            one_to_many: whether to run the one-to-many branch and the second stream too, where there are any.
        """
        plan = plan_attention(queries.groups, queries.boxes.device)
        second = self.second_stream if one_to_many else None
        if second is not None:
            queries = second.double(queries)
        content, boxes, base = queries.content, queries.boxes, queries.boxes
        branch_groups = self._branch_groups(queries.groups) if one_to_many else ()
        branch_rows = tuple(group.rows for group in branch_groups)
        outputs = list(self.first_outputs(queries))
        for index, layer in enumerate(self.layers):
            position, reference = self.positional_inputs(queries, boxes, memory, content, index)
            assert isinstance(layer, DecoderLayer)
            layer_plan = plan if second is None else second.plan(plan, layer, index)
            content, hidden = run_layer(
                layer, self.activation_checkpointing, content, position, reference, memory, layer_plan, branch_rows
            )
            output = DecoderLayerOutput(
                hidden=self.norm(content),
                reference_boxes=boxes,
                base_boxes=base,
                one_to_many=None if hidden is None else BranchInput(self.norm(hidden), branch_groups),
            )
            outputs.append(output if second is None else second.split(output))
            if self.refine_boxes and index + 1 < len(self.layers):
                refined = heads.refine(index, content, boxes)
                boxes = refined.detach()
                base = refined if self.look_forward_twice else boxes
        return tuple(outputs)

    def first_outputs(self, queries: QueryBatch) -> tuple[DecoderLayerOutput, ...]:
        """Return outputs before the first layer, which have predictions too: there are none."""
        return ()

    def _branch_groups(self, groups: tuple[QueryGroup, ...]) -> tuple[QueryGroup, ...]:
        branch = self.first_layer.read_out
        return () if branch is None else branch.groups_of(groups)

    def positional_inputs(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return the positional queries (B, Q, C) of a layer, and the reference of its cross-attention.

        Args:
            queries: the initial queries.
            boxes: (B, Q, 4 or 2), the current references.
            memory: encoded image features.
            content: (B, Q, C), the current content.
            layer: index of the layer.
        """
        raise NotImplementedError

    def position(self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int) -> Tensor:
        """Return positional queries (B, Q, C), those that the queries bring or those of `query_position`.

        The arguments are those of `positional_inputs`.

        Raises:
            ValueError: there are neither.
        """
        if self.query_position is not None:
            return self.query_position(boxes, memory.valid_ratios[:, 0], content, layer)
        if queries.position is None:
            raise ValueError(
                "the queries have no positional part and the decoder has no query_position to make one from their "
                "boxes: give the decoder a query_position or the selection a box_embedding"
            )
        return queries.position
