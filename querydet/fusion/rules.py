"""Which modules have a fused form: layers, and the parts of a detector that are made of them."""

from detectron2.layers import Conv2d
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from torch import nn

from querydet.fusion.blocks import FusedBlock, FusedStem, NormedConv2d, fuse_resnet
from querydet.fusion.exchange import Exchange, Rule
from querydet.fusion.folding import fold
from querydet.fusion.neck import FusedPosition
from querydet.fusion.transformer import FusedEncoderLayer, FusedFeedForward, FusedMLP, FusedSelfAttention
from querydet.modeling.backbones.folding import FoldedConv2d
from querydet.modeling.decoder.attention import SelfAttention
from querydet.modeling.encoder import EncoderLayer
from querydet.modeling.heads import PredictionHeads
from querydet.modeling.layers import MLP, FeedForward, SinePositionEmbedding
from querydet.modeling.selection.proposals import ProposalHead


def linear(module: nn.Linear, exchange: Exchange) -> nn.Module:
    """Pack a linear layer."""
    return exchange.layers.linear(module)


def convolution(module: nn.Conv2d, exchange: Exchange) -> nn.Module | None:
    """Pack a convolution with what Detectron2 puts behind it: a norm, and a ReLU."""
    norm, activation = getattr(module, "norm", None), getattr(module, "activation", None)
    relu = isinstance(activation, nn.ReLU)
    if activation is not None and not relu:
        return None
    folded = fold(module, norm)
    if folded is not None:
        return exchange.layers.conv(folded, relu)
    alone = fold(module)
    return None if norm is None or alone is None else NormedConv2d(exchange.layers.conv(alone), norm, relu)


def heads(module: nn.Module, exchange: Exchange) -> nn.Module:
    """Exchange the layers of heads, which compute in float32."""
    return exchange.in_full_precision().children(module)


def proposals(module: ProposalHead, exchange: Exchange) -> nn.Module:
    """Exchange the layers of proposal heads, whose classes and boxes are float32."""
    precise = exchange.in_full_precision()
    for name, child in module.named_children():
        setattr(module, name, (precise if name.endswith("_head") else exchange)(child))
    return module


def as_it_is(module: nn.Module, exchange: Exchange) -> nn.Module:
    """Leave a module and its children: PyTorch's attention reads their weights."""
    return module


RULES: dict[type, Rule] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    Conv2d: convolution,
    FoldedConv2d: convolution,
    BasicStem: FusedStem.make,
    BasicBlock: FusedBlock.make,
    BottleneckBlock: FusedBlock.make,
    SinePositionEmbedding: FusedPosition.make,
    ResNet: fuse_resnet,
    EncoderLayer: FusedEncoderLayer.make,
    FeedForward: FusedFeedForward.make,
    MLP: FusedMLP.make,
    SelfAttention: FusedSelfAttention.make,
    nn.MultiheadAttention: as_it_is,
    PredictionHeads: heads,
    ProposalHead: proposals,
}
