"""The state of a training run in a checkpoint: whether it has the form in which it was saved.

Nothing is loaded here. What needs the run's own objects, such as the shapes of the optimizer's state, is compared where
they load it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from querydet.checkpoint.weights import AVERAGES, COUNTER
from querydet.utils.texts import shown

TRAINER = "trainer"  # key of the trainer's state in a run's checkpoint
MAX_ITERATION = 10**10  # of a run: thirty years at ten a second
_COUNTS = ("overflow_steps", "nonfinite_steps", "out_of_memory_steps")
_REQUIRED = ("iteration", "optimizer", "scaler", "nonfinite_steps", "history")


def check_training_state(content: Mapping[str, Any], path: str, wanted: Sequence[str]) -> None:
    """Refuse a checkpoint from which a run cannot go on, whatever its weights are.

    Args:
        content: of the file.
        path: of the file, for messages.
        wanted: keys that the run needs besides the weights.

    Raises:
        ValueError: naming what is missing or of another form.
    """
    missing = [key for key in wanted if key not in content]
    if missing:
        raise ValueError(f"checkpoint {path} holds no {', '.join(missing)}: it cannot be resumed with this config")
    for name, value in _problems(content):
        raise ValueError(
            f"the state of the training in checkpoint {path} is not as it was saved: {name} is {shown(_text(value))}"
        )


def _problems(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries that are of another form, with their values; later ones rely on earlier ones."""
    iteration: Any = content.get("iteration")
    if not is_count(iteration) or iteration > MAX_ITERATION:
        yield "iteration", iteration
    averages: Any = next((content[key] for key in AVERAGES if key in content), {})
    if not isinstance(averages, Mapping) or (averages and not _is_counter(averages.get(COUNTER))):
        yield f"the moving average's {COUNTER}", averages
    trainer = content.get(TRAINER)
    if not isinstance(trainer, Mapping) or any(key not in trainer for key in _REQUIRED):
        yield TRAINER, trainer
        return
    if trainer["iteration"] != iteration:
        yield f"{TRAINER}.iteration", trainer["iteration"]
    found = ((f"{TRAINER}.{name}", value, is_right) for name, value, is_right in _parts(trainer, iteration))
    yield from ((name, value) for name, value, is_right in found if not is_right)


def _parts(trainer: Mapping[str, Any], iteration: Any) -> Iterator[tuple[str, Any, bool]]:
    """Yield the parts of a trainer's state, and whether they have their form."""
    for name in _COUNTS:
        yield name, trainer.get(name), is_count(trainer.get(name, 0))
    yield "scaler", trainer["scaler"], isinstance(trainer["scaler"], Mapping)
    yield "optimizer", trainer["optimizer"], _is_optimizer(trainer["optimizer"])
    yield "history", trainer["history"], _is_history(trainer["history"])
    images = trainer.get("bad_images", {"dataset_size": 0, "counts": {}})
    yield "bad_images", images, _is_bad_images(images)
    hooks = trainer.get("hooks", {})
    yield "hooks", hooks, isinstance(hooks, Mapping) and all(isinstance(hook, Mapping) for hook in hooks.values())
    if isinstance(hooks, Mapping) and isinstance(hooks.get("LRScheduler"), Mapping):
        position = hooks["LRScheduler"].get("last_epoch")
        yield "hooks.LRScheduler.last_epoch", position, is_count(position) and position == iteration + 1
    if isinstance(hooks, Mapping) and isinstance(hooks.get("BestCheckpointer"), Mapping):
        yield "hooks.BestCheckpointer", hooks["BestCheckpointer"], _is_best(hooks["BestCheckpointer"])


def is_count(value: Any) -> bool:
    """Return whether a value is an integer of at least 0."""
    return type(value) is int and value >= 0


def _is_counter(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1 and not value.is_floating_point() and int(value) >= 0


def _is_optimizer(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("state"), Mapping):
        return False
    states, groups = value["state"], value.get("param_groups")
    whole = all(isinstance(state, Mapping) and all(map(_is_number, state.values())) for state in states.values())
    return whole and isinstance(groups, list) and all(isinstance(group, Mapping) for group in groups)


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, Tensor | int | float)


def _is_best(value: Mapping[str, Any]) -> bool:
    iterations = [value.get(key) for key in ("best_iteration", "seen")]
    return isinstance(value.get("best", ""), float | int | None) and all(type(each) is int for each in iterations)


def _is_history(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(
        isinstance(entry, list | tuple)
        and len(entry) == 2
        and isinstance(entry[1], list)
        and all(map(_is_pair, entry[1]))
        for entry in value.values()
    )


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(number, int | float) for number in value)
        and math.isfinite(value[1])
    )


def _is_bad_images(value: Any) -> bool:
    if not isinstance(value, Mapping) or not is_count(value.get("dataset_size")):
        return False
    counts = value.get("counts")
    return isinstance(counts, Mapping) and all(isinstance(n, str) and is_count(c) for n, c in counts.items())


def _text(value: Any) -> str:
    plain = value is None or isinstance(value, str | int | float)
    return repr(value) if plain else f"of another form ({type(value).__name__})"
