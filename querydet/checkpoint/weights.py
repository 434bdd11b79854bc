"""The weights among the contents of a checkpoint file, and the state that they are in."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from querydet.checkpoint.reading import as_tensors
from querydet.utils.texts import listed, shown

WEIGHTS = ("model", "state_dict", "model_state_dict", "model_state", "blobs")
AVERAGES = ("ema_model", "ema", "ema_state", "ema_state_dict", "model_ema", "state_dict_ema")
WRAPPER = "module."  # of DataParallel, DistributedDataParallel and torch's AveragedModel
COUNTER = "n_averaged"  # AveragedModel's number of updates
FLOAT_NAMES = ("weight", "bias", "running_mean", "running_var")  # ends of names that always belong to floats
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Weights:
    """The weights of a file.

    Args:
        state: names and tensors, without the prefix of a wrapper.
        source: key of the file that held them; "" when the file is the state dict itself.
        is_average: whether they are a moving average.
        notes: sentences for the user about changes made to them.
        other: key of their average, where that was not taken.
    """

    state: dict[str, Tensor]
    source: str
    is_average: bool
    notes: tuple[str, ...] = ()
    other: str = ""


def find_weights(content: Mapping[str, Any], path: str, *, ema: bool = False) -> Weights:
    """Find the weights in the content of a checkpoint file.

    Args:
        content: from `querydet.checkpoint.reading.read_checkpoint`.
        path: of the file, for messages.
        ema: take the moving average. From a file that holds nothing else it is taken in any case, with a note.

    Raises:
        ValueError: there are none, ``ema`` is set and there is no average, or the prefix of a wrapper is on some names
            only.
    """
    main = [key for key in WEIGHTS if isinstance(content.get(key), Mapping) and content[key]]
    averages = [key for key in AVERAGES if isinstance(content.get(key), Mapping) and content[key]]
    if ema and not averages:
        raise ValueError(f"{path} holds no moving average ({', '.join(AVERAGES)}), but {_kinds(content)}")
    notes: list[str] = []
    if averages and (ema or not main):
        source, values = averages[0], content[averages[0]]
        values = values.get("module", values) if isinstance(values.get("module"), Mapping) else values
        if not main:
            notes.append(f"the file holds only the moving average of the weights ({source!r}), which was taken")
    elif main:
        source, values = main[0], content[main[0]]
    elif content and all(isinstance(value, Tensor) for value in content.values()):
        source, values = "", content
    else:
        raise ValueError(f"{path} holds no weights under {', '.join(WEIGHTS + AVERAGES)}, but {_kinds(content)}")
    values = {key: value for key, value in values.items() if key != COUNTER}
    state, wrapped = strip_wrapper(as_tensors(values, path))
    if wrapped:
        notes.append(f"the prefix {WRAPPER!r} of a wrapper was removed from all names")
    halves = precisions(state)
    if halves:
        notes.append(
            f"{sum(halves.values())} tensors are stored in {', '.join(halves)}: they were made float32, and what was "
            "rounded away is lost; take the original file if there is one"
        )
    other = averages[0] if averages and source not in averages else ""
    return Weights(single_precision(state), source, source in averages, tuple(notes), other)


def strip_wrapper(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Remove ``module.`` from all names; return the result, and whether the prefix was there.

    Raises:
        ValueError: it is on some names only.
    """
    wrapped = [name.startswith(WRAPPER) for name in state]
    if not any(wrapped):
        return dict(state), False
    if not all(wrapped):
        without = [name for name, has in zip(state, wrapped, strict=True) if not has]
        raise ValueError(
            f"{sum(wrapped)} names begin with {WRAPPER!r} and {len(without)} do not, such as {without[0]!r}: the file "
            "mixes two models, keep one of them"
        )
    return {name[len(WRAPPER) :]: value for name, value in state.items()}, True


def precisions(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Count the tensors of less than single precision by type."""
    counts: dict[str, int] = {}
    for value in state.values():
        if value.is_floating_point() and value.element_size() < 4:
            name = str(value.dtype).removeprefix("torch.")
            counts[name] = counts.get(name, 0) + 1
    return counts


def single_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring all real numbers of a state dict to at least single precision."""
    return {
        name: value.float() if value.is_floating_point() and value.element_size() < 4 else value
        for name, value in state.items()
    }


def check_types(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str) -> None:
    """Refuse weights whose kind of numbers is not that of the model: integers where it has floats, and so on.

    Floats of any width fit each other, and so do integers whose values fit. A weight that the model does not have is
    judged by its name: what layers call ``weight`` or ``bias`` is floats.

    Args:
        state: weights of a file.
        own: state dict of the model; empty where it is not known.
        path: of the file, for messages.

    Raises:
        ValueError: naming the weights.
    """
    wrong = [
        f"{name} ({_type_name(value.dtype)} instead of {_type_name(own[name].dtype) if name in own else 'floats'})"
        for name, value in state.items()
        if not (_same_kind(value, own[name].dtype) if name in own else _usual_kind(name, value))
    ]
    if wrong:
        raise ValueError(f"{path} holds weights of another type than the model's: {listed(map(shown, wrong), SHOWN)}")


def check_finite(state: Mapping[str, Tensor], path: str, own: Mapping[str, Tensor] = MappingProxyType({})) -> None:
    """Refuse weights that are NaN or infinite, or would be in the type of the model.

    Args:
        state: weights of a file.
        path: of the file, for messages.
        own: state dict of the model; empty where it is not known.

    Raises:
        ValueError: naming the weights, and the switch.
    """
    broken = [name for name, value in state.items() if not _finite(value, own.get(name))]
    if broken:
        names = listed(map(shown, broken), SHOWN)
        raise ValueError(
            f"{path} holds NaN or infinite weights, its training failed: {names}. To look into it: "
            "train.init_allow_nonfinite=True, or querydet convert --allow-nonfinite"
        )


def _kind(dtype: torch.dtype) -> str:
    return "floats" if dtype.is_floating_point else "booleans" if dtype == torch.bool else "integers"


def _type_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _same_kind(value: Tensor, dtype: torch.dtype) -> bool:
    if _kind(value.dtype) != _kind(dtype):
        return False
    return _kind(dtype) != "integers" or value.dtype == dtype or bool((value.to(dtype) == value).all())


def _usual_kind(name: str, value: Tensor) -> bool:
    return value.is_floating_point() or name.rpartition(".")[2] not in FLOAT_NAMES


def _finite(value: Tensor, own: Tensor | None) -> bool:
    if not value.is_floating_point():
        return True
    dtype = torch.float32 if own is None or not own.is_floating_point() else own.dtype
    value = value.to(dtype) if dtype.itemsize < value.element_size() else value  # where large numbers become infinite
    return bool(torch.isfinite(value).all())


def _kinds(content: Mapping[str, Any]) -> str:
    kinds = (f"{shown(str(key))} ({type(value).__name__})" for key, value in list(content.items())[:10])
    return ", ".join(kinds) or "nothing"
