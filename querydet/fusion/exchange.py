"""Exchange the modules of a model for fused forms, type by type.

A rule is a function of a module and an `Exchange`; it returns the module's fused form, or None where there is none. The
exchange looks up the exact type, as a subclass may compute something else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from querydet.fusion.layers import Layers

Rule = Callable[[Any, "Exchange"], nn.Module | None]


@dataclass(frozen=True)
class Exchange:
    """What rules make fused forms with.

    Args:
        layers: makes products and convolutions.
        rules: by the type of module.
    """

    layers: Layers
    rules: Mapping[type, Rule]
    done: dict[int, nn.Module] = field(default_factory=dict)  # by the identity of the module that it was

    def __call__(self, module: nn.Module) -> nn.Module:
        """Return the fused form of a module, or the module itself with its children exchanged."""
        key = id(module)
        if key not in self.done:
            rule = self.rules.get(type(module))
            fused = None if rule is None else rule(module, self)
            if fused is not None:
                fused.train(module.training)
            self.done[key] = self.children(module) if fused is None else fused
        return self.done[key]

    def children(self, module: nn.Module) -> nn.Module:
        """Exchange the children of a module, and return the module."""
        for name, child in module._modules.items():  # `named_children` leaves out one that stands twice
            if child is not None:
                setattr(module, name, self(child))
        return module

    def in_full_precision(self) -> "Exchange":
        """Return the exchange for modules that compute classes and boxes."""
        return replace(self, layers=self.layers.full_precision())


def exchange_modules(model: nn.Module, layers: Layers, rules: Mapping[type, Rule]) -> nn.Module:
    """Exchange what there are rules for.

    Args:
        model: a model that nobody else uses: its children are replaced.
        layers: makes products and convolutions.
        rules: by the type of module.
    """
    return Exchange(layers, rules)(model)
