"""What all encoders have in common: a stack of layers."""

from torch import nn

from querydet.modeling.layers.stack import stack_layers


class EncoderStack(nn.Module):
    """What all encoders have in common: a stack of layers.

    Args:
        layer: the first layer; the others are made like it.
        num_layers: number of layers.
        activation_checkpointing: recompute each layer in the backward pass instead of keeping its activations.
    """

    def __init__(self, *, layer: nn.Module, num_layers: int = 6, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.layers = stack_layers(layer, num_layers)
        self.activation_checkpointing = activation_checkpointing
