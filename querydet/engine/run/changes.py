"""What has changed in the config since the run that is being resumed was started."""

import ast
import os
import tempfile

from omegaconf import DictConfig

from querydet.checkpoint.folder import candidates
from querydet.config import save_config
from querydet.config.safe_yaml import CONFIG_FILE, config_leaves, plain_config
from querydet.utils.targets import TARGET, full_name

# A run that goes on with another value of these is another run: other data in another order, or another loss.
# The data set may be elsewhere: it is compared by its content (`querydet.engine.hooks.same_data`).
FIXED = (
    "model.",
    "train.seed",
    "dataloader.train.total_batch_size",
    "dataloader.train.mapper.",
    "dataloader.train.repeat",
    f"dataloader.train.{TARGET}",
)
FROZEN = "train.freeze"  # parts that the optimizer has no state for
# What only says how to go on: where there are faults, or how memory is used.
FREE = ("on_bad_image", "read_retries", "checkpointing")


def changes(cfg: DictConfig) -> list[str]:
    """Differences from the config of the run in ``train.output_dir``, which has checkpoints.

    Args:
        cfg: the complete config.

    Returns:
        Lines ``key: old -> new``; none when there is nothing to resume.

    Raises:
        ValueError: something has changed that must not, and ``train.allow_changed_config`` is not set; or the frozen
            parts have, which nothing allows.
    """
    folder = cfg.train.output_dir
    path = os.path.join(folder, CONFIG_FILE)
    if not os.path.isfile(path) or not candidates(folder):
        return []
    try:
        old = _leaves(path)
    except Exception as error:  # whatever half a file leads to
        return [f"{path} cannot be read, so that it is not known what has changed: {error}"]
    with tempfile.TemporaryDirectory() as temporary:
        # the same way to a file and back, so that equal values look equal
        copy = os.path.join(temporary, CONFIG_FILE)
        save_config(cfg, copy)
        new = _leaves(copy)
    found = {
        key: f"{key}: {old.get(key, '(not set)')} -> {new.get(key, '(not set)')}"
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key)
    }
    old_parts, new_parts = _frozen(old), _frozen(new)
    if old_parts != new_parts:
        raise ValueError(
            f"the run in {folder} freezes {old_parts or 'nothing'}, and train.freeze is {new_parts or 'nothing'} now: "
            "its optimizer has a state for the parts that it trains alone. Resume with what it had, or start a new run "
            "in another train.output_dir from its weights (train.init_checkpoint)"
        )
    refused = [line for key, line in found.items() if key.startswith(FIXED) and not key.endswith(FREE)]
    if refused and not cfg.train.allow_changed_config:
        raise ValueError(
            f"the run in {folder} was started with another config:\n  "
            + "\n  ".join(refused)
            + "\nResume with what it had, start a new run in another train.output_dir, or set "
            "train.allow_changed_config=True to go on all the same"
        )
    return list(found.values())


def _frozen(leaves: dict[str, str]) -> str:
    """Return the frozen parts of a run; "" without any, also where an earlier version had no such key."""
    return ", ".join(sorted({value for key, value in leaves.items() if key.startswith(f"{FROZEN}.")}))


def _leaves(path: str) -> dict[str, str]:
    """Return the values of a saved config by key, with every known part under the name of the module that defines it.

    The same part may be saved by several names: Detectron2 takes the shortest that leads to it.
    """
    leaves = dict(config_leaves(plain_config(path)))
    targets = {key: full_name(ast.literal_eval(value)) for key, value in leaves.items() if key.endswith(TARGET)}
    return leaves | targets
