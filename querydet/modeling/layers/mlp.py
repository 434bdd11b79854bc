"""Multi-layer perceptron with ReLU between the layers, as every DETR uses it for boxes and positions."""

from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """`num_layers` linear layers with ReLU between them, none after the last."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., input_dim) to (..., output_dim)."""
        for layer in list(self.layers)[:-1]:
            values = layer(values).relu()
        return self.layers[-1](values)


def xavier_mlp(input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> MLP:
    """An `MLP` with Xavier weights, as the released code gives every matrix of its transformers."""
    mlp = MLP(input_dim, hidden_dim, output_dim, num_layers)
    for parameter in mlp.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return mlp
