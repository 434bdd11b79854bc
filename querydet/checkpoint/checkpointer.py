"""Detectron2's checkpointer, made safe against crashes and strict about what it loads.

Differences from Detectron2 and fvcore: a file appears under its name only when it is complete; the pointer
``last_checkpoint`` is written after the file and the best model never moves it; every file carries a checksum, which is
compared before anything of it is used; resuming takes the newest file that is whole; and keys or shapes that do not fit
are an error instead of a warning.
"""

import logging
import os
import pickle
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from querydet.checkpoint.atomic import atomic_write
from querydet.checkpoint.compatibility import BACKBONE, check_backbone, check_compatible
from querydet.checkpoint.folder import BEST, POINTER, candidates
from querydet.checkpoint.seal import damage, is_archive, seal

logger = logging.getLogger(__name__)


class Checkpointer(DetectionCheckpointer):
    """Saves and loads a model and what belongs to its training.

    Args:
        model: the model; a ``DistributedDataParallel`` wrapper is removed.
        save_dir: folder of the checkpoints.
        allow_mismatch: load a file whose classes or queries differ as far as shapes fit.
        allow_backbone_only: accept a file that holds nothing but a backbone.
        class_names: of the training data, kept in every file, so that an evaluation can compare.
        checkpointables: further objects with ``state_dict`` and ``load_state_dict``, by the key they are saved under.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        allow_mismatch: bool = False,
        allow_backbone_only: bool = True,
        class_names: Sequence[str] = (),
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.allow_mismatch = allow_mismatch
        self.allow_backbone_only = allow_backbone_only
        self.class_names = list(class_names)
        self._keys: set[str] = set()

    def save(self, name: str, tag: bool = True, **extra: Any) -> None:
        """Writes ``name.pth`` on the main process.

        Args:
            name: file name without extension.
            tag: make it the checkpoint to resume from.
            extra: further plain values to save.

        Raises:
            OSError: the disk is full or the folder is gone; earlier checkpoints are intact.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), "class_names": self.class_names}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        data.update(extra)
        file_name = f"{name}.pth"
        logger.info("Saving checkpoint to %s", os.path.join(self.save_dir, file_name))
        with atomic_write(os.path.join(self.save_dir, file_name)) as file:
            _write(data, file)
        if tag:
            self.tag_last_checkpoint(file_name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Points ``last_checkpoint`` at a file of the folder."""
        with atomic_write(os.path.join(self.save_dir, POINTER)) as file:
            file.write(last_filename_basename.encode())

    def has_checkpoint(self) -> bool:
        """Whether there is a file that looks like one to resume from; it may still turn out to be damaged."""
        return bool(candidates(self.save_dir))

    def has_best(self) -> bool:
        """Whether there is a best model, which may be all that a run left that ended before its first checkpoint."""
        return os.path.exists(os.path.join(self.save_dir, BEST))

    def get_checkpoint_file(self) -> str:
        """The newest undamaged checkpoint, the one ``last_checkpoint`` points at first; "" when there is none."""
        for path in candidates(self.save_dir):
            problem = damage(path)
            if problem is None:
                return path
            logger.warning("Checkpoint %s is damaged and is passed over: %s", path, problem)
        return ""

    def resume(self, path: str) -> None:
        """Loads one of this run's checkpoints with everything in it.

        Raises:
            ValueError: something that this run needs is not in the file, or it belongs to another model.
        """
        allowed = self.allow_mismatch, self.allow_backbone_only
        self.allow_mismatch = self.allow_backbone_only = False
        try:
            self.load(path)
        finally:
            self.allow_mismatch, self.allow_backbone_only = allowed
        missing = [key for key in self.checkpointables if key not in self._keys]
        if missing:
            raise ValueError(f"checkpoint {path} holds no {', '.join(missing)}: it cannot be resumed with this config")

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Loads a file; see the class for how strictly.

        Args:
            path: a path or an address that Detectron2 knows, such as ``detectron2://...``; "" loads nothing.
            checkpointables: keys to load besides the model; None means all.

        Returns:
            What else the file holds.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is damaged or does not fit the model.
        """
        check_exists(path)
        try:
            return super().load(path, checkpointables)
        except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise ValueError(f"checkpoint {path} cannot be read: {error}") from error
        finally:
            self._parsed_url_during_load = None  # else one failed load makes the next one fail

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        heuristics = bool(checkpoint.get("matching_heuristics", False))
        backbone = heuristics or all(key.startswith(BACKBONE) for key in checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        if not (backbone and self.allow_backbone_only and check_backbone(self.model, incompatible)):
            check_compatible(self.model, incompatible, self.allow_mismatch)

    def _load_file(self, filename: str) -> dict[str, Any]:
        if is_archive(filename) and (problem := damage(filename)):
            raise ValueError(f"checkpoint {filename} is damaged: {problem}. Use another one, or copy it anew")
        checkpoint = super()._load_file(filename)
        self._keys = set(checkpoint)
        return checkpoint


def _write(data: dict[str, Any], file: BinaryIO) -> None:
    """torch hides that the disk is full behind an error of its own, about a position in the file."""
    try:
        torch.save(data, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    seal(file)


def check_exists(path: str) -> None:
    """Refuses a local checkpoint that is not there; "" and addresses pass.

    Raises:
        FileNotFoundError: no such file.
    """
    if path and "://" not in path and not os.path.isfile(path.partition("?")[0]):
        raise FileNotFoundError(
            f"checkpoint {os.path.abspath(path)} does not exist (train.init_checkpoint, or --weights)"
        )


def load_weights(model: nn.Module, path: str, *, use_ema: bool = False, allow_mismatch: bool = False) -> list[str]:
    """Loads a trained model for evaluation or prediction.

    Args:
        model: the model.
        path: a checkpoint of this project.
        use_ema: take the moving average when the file has one.
        allow_mismatch: load what fits.

    Returns:
        Names of the classes that it was trained on, empty when the file does not say.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or does not fit the model.
    """
    extra = Checkpointer(model, allow_mismatch=allow_mismatch, allow_backbone_only=False).load(path)
    if use_ema and "ema" in extra:
        prefix = "module."
        state = {k[len(prefix) :]: v for k, v in extra["ema"].items() if k.startswith(prefix)}
        model.load_state_dict(state, strict=not allow_mismatch)
        logger.info("Using the moving average of the weights in %s", path)
    return extra.get("class_names", [])
