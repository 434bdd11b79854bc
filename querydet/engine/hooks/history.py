"""The latest values of all metrics, kept in checkpoints so that a resumed run smooths over them as well."""

from typing import Any

from detectron2.utils.events import EventStorage

from querydet.engine.hooks.monitoring import MEASURED

HISTORY = 20  # iterations that Detectron2's writers smooth over
# These belong to the process and the machine, not to the run.
CLOCK = ("time", "data_time", "eta_seconds", "failed_saves", "failed_evaluations", *MEASURED)


def saved_history(storage: EventStorage) -> dict[str, list[Any]]:
    """Return the last values of every scalar, as ``name: [smoothing hint, [[value, iteration], ...]]``."""
    hints = storage.smoothing_hints()
    return {
        name: [hints[name], _recent(history.values())]
        for name, history in storage.histories().items()
        if name not in CLOCK
    }


def restore_history(storage: EventStorage, saved: dict[str, list[Any]]) -> None:
    """Restore what `saved_history` returned."""
    for name, (hint, values) in saved.items():
        for value, iteration in values:
            storage.put_scalar(name, value, smoothing_hint=hint, cur_iter=int(iteration))


def _recent(values: list[tuple[float, float]]) -> list[list[float]]:
    return [[float(v), int(i)] for v, i in values[-HISTORY:] if i > values[-1][1] - HISTORY]
