"""Whether a checkpoint can be used: what makes a run pass it over, and a model refuse it."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.weights import AVERAGES, check_finite, check_types, find_weights

TRAINER = "trainer"  # key of the optimizer's state in a run's checkpoint


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


def find_problem(path: str, own: Mapping[str, Tensor], allow_nonfinite: bool = False) -> str | None:
    """Read a checkpoint of a run and say why the run cannot go on from it; None: it can.

    Args:
        path: of the file.
        own: state dict of the model; empty where it is not known.
        allow_nonfinite: accept NaN and infinity.
    """
    try:
        content = read_checkpoint(path)
        check_weights(find_weights(content, path).state, own, path, allow_nonfinite)
        if any(key in content for key in AVERAGES):
            check_weights(find_weights(content, path, ema=True).state, own, path, allow_nonfinite)
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
