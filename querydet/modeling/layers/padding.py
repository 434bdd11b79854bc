"""Set the padding of a batch to zero."""

from torch import Tensor, nn

from querydet.modeling.geometry import may_have_padding


class BlankPadding(nn.Module):
    """Sets values in the padding to zero.

    Args:
        dim: dimension of the channels, which the padding does not have.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, values: Tensor, padding: Tensor) -> Tensor:
        """Return the values, zero in the padding; where it is known that there is none, they are the same tensor.

        Args:
            values: (B, S, C) or (B, C, H, W).
            padding: (B, S) or (B, H, W) bool, True = padding.
        """
        return values.masked_fill(padding.unsqueeze(self.dim), 0) if may_have_padding(padding) else values
