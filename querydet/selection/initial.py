"""What a selection hands to the decoder."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ProposalPredictions:
    """The encoder's predictions that are supervised: of all tokens, or of the selected ones."""

    logits: Tensor  # (B, N, K) float32
    boxes: Tensor  # (B, N, 4) float32


@dataclass(frozen=True, slots=True)
class InitialQueries:
    """The primary queries before the first decoder layer."""

    content: Tensor  # (B, Q, C)
    boxes: Tensor  # (B, Q, 4), or (B, Q, 2) points
    position: Tensor | None  # (B, Q, C) fixed positional queries; None: the decoder makes them from the boxes
    predictions: ProposalPredictions | None  # None: there is no first stage
