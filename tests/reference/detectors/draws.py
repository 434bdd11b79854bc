"""Random numbers of a training pass: drawn and remembered, or taken from a recording in their order."""

import torch
from torch import Tensor


class Draws:
    """A source of random numbers.

    Args:
        seed: of new numbers.
        recorded: numbers to give out instead, by the names that `log` has.
    """

    def __init__(self, seed: int = 0, recorded: dict[str, Tensor] | None = None) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.recorded = None if recorded is None else [recorded[name] for name in sorted(recorded)]
        self.log: dict[str, Tensor] = {}

    def _next(self, kind: str, new: Tensor) -> Tensor:
        values = new if self.recorded is None else self.recorded.pop(0)
        assert values.shape == new.shape, f"draw {len(self.log)}: {tuple(new.shape)}, recorded {tuple(values.shape)}"
        self.log[f"{len(self.log):02d}_{kind}"] = values
        return values

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1)."""
        return self._next("rand_like", torch.rand(shape, generator=self.generator))

    def integers(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high)."""
        return self._next("randint_like", torch.randint(high, shape, generator=self.generator))

    def coins(self, *shape: int) -> Tensor:
        """Zeros and ones, as float32."""
        return self._next("randint_like", torch.randint(2, shape, generator=self.generator).float())

    def permutation(self, length: int) -> Tensor:
        """An order of the integers below ``length``."""
        return self._next("randperm", torch.randperm(length, generator=self.generator))
