"""The parameters of a detector by their published names, and the layers that these are of."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor


class Weights:
    """Part of a state dict.

    Args:
        tensors: the whole state dict.
        prefix: what all names of the part start with.
    """

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self.tensors = tensors
        self.prefix = prefix

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.prefix + name]

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def at(self, *path: str | int) -> "Weights":
        """Step into a part, such as ``at("layers", 0, "norm1")``."""
        return Weights(self.tensors, self.prefix + "".join(f"{step}." for step in path))

    def linear(self, values: Tensor) -> Tensor:
        """Apply this part as a linear layer."""
        return values @ self["weight"].T + self["bias"]

    def norm(self, values: Tensor) -> Tensor:
        """Apply this part as a layer norm."""
        mean = values.mean(-1, keepdim=True)
        variance = ((values - mean) ** 2).mean(-1, keepdim=True)
        return (values - mean) / (variance + 1e-5).sqrt() * self["weight"] + self["bias"]

    def mlp(self, values: Tensor) -> Tensor:
        """Apply this part as linear layers with a ReLU between each two."""
        index = 0
        while f"layers.{index}.weight" in self:
            values = self.at("layers", index).linear(F.relu(values) if index else values)
            index += 1
        return values

    def feed_forward(self, values: Tensor, first: str = "linear1", second: str = "linear2") -> Tensor:
        """Apply two linear layers of this part with a ReLU between them, or a PReLU where it has a slope."""
        hidden = self.at(first).linear(values)
        active = F.prelu(hidden, self["activation.weight"]) if "activation.weight" in self else F.relu(hidden)
        return self.at(second).linear(active)
