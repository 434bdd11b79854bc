"""Multi-layer perceptrons with ReLU between the layers, as every DETR uses them for boxes and positions."""

from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them and none after the last.

    Args:
        input_dim: width of the input.
        hidden_dim: width between the layers.
        output_dim: width of the output.
        num_layers: number of linear layers.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., input_dim) to (..., output_dim)."""
        for layer in list(self.layers)[:-1]:
            values = layer(values).relu()
        return self.layers[-1](values)


def xavier_mlp(input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> MLP:
    """Make an `MLP` with Xavier weights, as the released code gives every matrix of its transformers."""
    mlp = MLP(input_dim, hidden_dim, output_dim, num_layers)
    for parameter in mlp.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return mlp
