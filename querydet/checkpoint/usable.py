"""Whether a checkpoint can be used: what makes a run pass it over, and a model refuse it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from querydet.checkpoint.mismatch import check_fit
from querydet.checkpoint.optimizer_entries import Shapes, check_optimizer
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.training_state import TRAINER, check_training_state
from querydet.checkpoint.weights import AVERAGES, check_finite, check_types, find_weights


def check_weights(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str, allow_nonfinite: bool) -> None:
    """Refuse weights of other types than the model's, and unless allowed NaN and infinite ones.

    Args:
        state: weights of a file.
        own: state dict of the model; empty where it is not known.
        path: of the file, for messages.
        allow_nonfinite: accept NaN and infinity.

    Raises:
        ValueError: naming the weights.
    """
    check_types(state, own, path)
    if not allow_nonfinite:
        check_finite(state, path, own)


def find_problem(
    path: str,
    own: Mapping[str, Tensor],
    allow_nonfinite: bool = False,
    wanted: Sequence[str] = (),
    optimized: Shapes = (),
) -> str | None:
    """Read a checkpoint of a run and say why the run cannot go on from it; None: it can.

    Args:
        path: of the file.
        own: state dict of the model; empty where it is not known.
        allow_nonfinite: accept NaN and infinity.
        wanted: keys that a training needs besides the weights; empty where it is not to be continued.
        optimized: shapes of the parameters of each group of its optimizer; empty where it is not known.
    """
    try:
        content = read_checkpoint(path)
        states = [find_weights(content, path).state]
        if any(key in content for key in AVERAGES):
            states.append(find_weights(content, path, ema=True).state)
        for state in states:
            check_weights(state, own, path, allow_nonfinite)
            if wanted and own:
                check_fit(state, own, path)
        if wanted:
            check_training_state(content, path, wanted)
        if optimized:
            check_optimizer(content[TRAINER]["optimizer"], optimized, path)
        if not allow_nonfinite:
            check_finite(dict(_tensors(content.get(TRAINER), TRAINER)), path)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return None


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in nested containers; reading has bounded their depth and number."""
    if isinstance(value, Tensor):
        yield name, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _tensors(item, f"{name}.{key}")
