"""Multi-layer perceptron with ReLU between the layers, as every DETR uses it for boxes and positions."""

from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """``num_layers`` linear layers with ReLU between them, none after the last."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., input_dim) to (..., output_dim)."""
        for layer in list(self.layers)[:-1]:
            values = layer(values).relu()
        return self.layers[-1](values)
