"""The decoder of Conditional DETR (arXiv 2108.06152, section 3): queries look where their reference points say."""

from torch import Tensor, nn

from querydet.boxes import full_precision
from querydet.dense.attention import ConditionalCrossAttention, ConditionalSelfAttention
from querydet.heads import PredictionHeads
from querydet.layers import MLP, FeedForward
from querydet.layers.position_embedding import sine_embedding
from querydet.layers.stack import run_layer, stack_layers
from querydet.queries.position import TEMPERATURE
from querydet.queries.visibility import AttentionPlan, plan_attention
from querydet.structures import DecoderLayerOutput, FeaturePyramid, QueryBatch

TWO_PI = 6.283185307179586


class ConditionalDecoderLayer(nn.Module):
    """Self-attention, conditional cross-attention and a feed-forward block, each followed by its norm.

    Args:
        embed_dim: width C.
        num_heads: of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: of the attention weights and of every update.
    """

    read_out = None  # one-to-many predictions are not read here

    def __init__(self, *, embed_dim: int = 256, num_heads: int = 8, ffn_dim: int = 2048, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.self_attention = ConditionalSelfAttention(embed_dim, num_heads, dropout)
        self.self_attention_norm = nn.LayerNorm(embed_dim)
        self.cross_attention = ConditionalCrossAttention(embed_dim, num_heads, dropout)
        self.cross_attention_norm = nn.LayerNorm(embed_dim)
        self.ffn = FeedForward(embed_dim, ffn_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, content: Tensor, position: Tensor, sine: Tensor, memory: FeaturePyramid, plan: AttentionPlan
    ) -> Tensor:
        """Update the content of the queries (B, Q, C).

        Args:
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
            sine: (B, Q, C), embedded reference points, scaled.
            memory: encoded tokens.
            plan: which queries may attend to which.
        """
        update = plan.apply(self.self_attention, position, content)
        content = self.self_attention_norm(content + self.dropout(update))
        update = self.cross_attention(content, position, sine, memory)
        return self.ffn(self.cross_attention_norm(content + self.dropout(update)))


class ConditionalDecoder(nn.Module):
    """A stack of conditional decoder layers; all of them keep the first reference points.

    Args:
        layer: the first layer; the others are made like it, without its projection of positional queries.
        num_layers: number of layers D.
        activation_checkpointing: recompute each layer in the backward pass instead of keeping its activations.
    """

    query_position = None  # the queries bring their positions
    refine_boxes = False
    look_forward_twice = False

    def __init__(
        self, *, layer: ConditionalDecoderLayer, num_layers: int = 6, activation_checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.embed_dim = layer.embed_dim
        self.layers = stack_layers(layer, num_layers)
        for other in self.layers[1:]:
            other.cross_attention.query_position = None  # type: ignore[union-attr]
        self.query_scale = MLP(self.embed_dim, self.embed_dim, self.embed_dim, num_layers=2)
        self.norm = nn.LayerNorm(self.embed_dim)
        self.activation_checkpointing = activation_checkpointing
        for parameter in self.query_scale.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, queries: QueryBatch, memory: FeaturePyramid, heads: PredictionHeads, read_out: bool = False
    ) -> tuple[DecoderLayerOutput, ...]:
        """Run all layers and return what the heads read after each.

        Args:
            queries: initial queries, with positions and points.
            memory: encoded image features.
            heads: not needed here, as nothing is refined between layers.
            read_out: no effect: nothing else is read.
        """
        assert queries.position is not None
        content, points = queries.content, queries.boxes
        plan = plan_attention(queries.groups, points.device)
        angles = full_precision(points).flip(-1) * TWO_PI  # y first
        sine = sine_embedding(angles, self.embed_dim // 2, TEMPERATURE).flatten(-2).to(content.dtype)
        outputs = []
        for index, layer in enumerate(self.layers):
            scaled = sine if index == 0 else sine * self.query_scale(content)
            content = run_layer(layer, self.activation_checkpointing, content, queries.position, scaled, memory, plan)
            outputs.append(DecoderLayerOutput(hidden=self.norm(content), reference_boxes=points, base_boxes=points))
        return tuple(outputs)
