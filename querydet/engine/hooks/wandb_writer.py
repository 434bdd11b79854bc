"""Weights & Biases, imported only when ``train.wandb.enabled``."""

import os
from typing import Any

from detectron2.utils.events import EventWriter, get_event_storage

from querydet.engine.hooks.history import HISTORY
from querydet.utils.damaged import put_aside, put_aside_unless_file


class WandbWriter(EventWriter):
    """Sends the values of Detectron2's other writers to Weights & Biases: losses are medians of the last iterations.

    A run that is resumed continues there: its id is kept in the output folder.

    Args:
        output_dir: folder of the run.
        config: values shown with the run.
        project: project of ``wandb.init``.
        name: name of the run; None: that of the output folder.
        mode: "online", "offline" or "disabled"; None: as the environment says.
        start_iter: first iteration to run.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(
        self,
        output_dir: str,
        config: dict[str, Any],
        project: str,
        name: str | None = None,
        mode: str | None = None,
        start_iter: int = 0,
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError("train.wandb.enabled=True needs wandb: pip install wandb, or switch it off") from error
        path = os.path.join(output_dir, "wandb_id.txt")
        identifier = _read(path) if start_iter else ""
        self._run = wandb.init(
            project=project,
            name=name or os.path.basename(os.path.abspath(output_dir)),
            dir=output_dir,
            config=config,
            mode=mode,
            id=identifier or None,
            resume="allow" if identifier else None,
        )
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(self._run.id))
        self._last = start_iter - 1

    def write(self) -> None:
        """Send the values that are newer than the last call, by iteration."""
        new: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(HISTORY).items():
            if iteration > self._last:
                new.setdefault(int(iteration), {})[name] = float(value)
        for iteration in sorted(new):
            self._run.log(new[iteration], step=iteration)
            self._last = iteration

    def close(self) -> None:
        """End the run at Weights & Biases."""
        self._run.finish()


def _read(path: str) -> str:
    try:
        put_aside_unless_file(path)
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        put_aside(path, error)
        return ""
