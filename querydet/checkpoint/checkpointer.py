"""Detectron2's checkpointer, made safe against crashes and strict about what it loads.

Differences from Detectron2 and fvcore: a file appears under its name only when it is complete; the pointer
``last_checkpoint`` is written after the file and the best model never moves it; every file carries a checksum, which is
compared before anything of it is used; resuming takes the newest file that is whole; and keys or shapes that do not fit
are an error instead of a warning.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

import querydet.checkpoint.addresses  # noqa: F401 - makes querydet:// known
from querydet.checkpoint.backbone_loading import align_backbone
from querydet.checkpoint.class_maps import KnownMap, find_class_map
from querydet.checkpoint.conversion.convert import recognise_or_none
from querydet.checkpoint.folder import BEST, POINTER, candidates
from querydet.checkpoint.mismatch import BACKBONE, check_backbone, check_compatible, check_fit, check_settings, fitting
from querydet.checkpoint.optimizer_entries import Shapes
from querydet.checkpoint.part_loading import of_parts, settings_of_parts, weights_of_parts
from querydet.checkpoint.quantized import refuse_quantized
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.regular import check_exists
from querydet.checkpoint.seal import save_sealed
from querydet.checkpoint.settings import KEY, stored
from querydet.checkpoint.surgery import Surgery, adapt
from querydet.checkpoint.training_only import INFERENCE_ONLY, training_only_keys
from querydet.checkpoint.usable import check_weights, find_problem
from querydet.checkpoint.weights import find_weights
from querydet.utils.atomic import atomic_write

logger = logging.getLogger(__name__)

PYCLS = "model_state"  # where pycls keeps a backbone's weights, whose names have to be matched


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
        self.allow_average = False
        self.allow_nonfinite = False  # accept NaN and infinite weights, to look into a failed training
        self.allow_backbone_only = allow_backbone_only
        self.class_names = list(class_names)
        self.adapt = False  # also load files of other classes, queries, groups, levels or masks
        self.class_map: KnownMap | None = None  # finds classes of other names in them
        self.parts: tuple[str, ...] = ()  # load these parts of the model alone; none: all of it
        self.allow_inference_only = False  # accept files without the weights that only training uses
        self.surgery: Surgery | None = None  # what the last file needed for that
        self._keys: set[str] = set()
        self._was_aligned = False  # the last file was a backbone under other names

    def save(self, name: str, tag: bool = True, **extra: Any) -> None:
        """Write ``name.pth`` on the main process.

        Args:
            name: file name without extension.
            tag: make the file the one to resume from.
            extra: further plain values to save.

        Raises:
            OSError: the disk is full or the folder is gone; earlier checkpoints are intact.
        """
        if not (data := self.content() if self.save_dir else {}):
            return
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        with atomic_write(path) as file:
            save_sealed({**data, **extra}, file)
        if tag:
            self.tag_last_checkpoint(os.path.basename(path))

    def content(self) -> dict[str, Any]:
        """Collect the content of a checkpoint; empty in a process that writes none."""
        if not self.save_to_disk:
            return {}
        data = {"model": self.model.state_dict(), "class_names": self.class_names}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        return data

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Point ``last_checkpoint`` at a file of the folder."""
        with atomic_write(os.path.join(self.save_dir, POINTER)) as file:
            file.write(last_filename_basename.encode())

    def has_checkpoint(self) -> bool:
        """Return whether there is a file to resume from, which may still turn out to be damaged."""
        return bool(candidates(self.save_dir))

    def has_best(self) -> bool:
        """Return whether there is a best model, which may be all that a run has left behind."""
        return os.path.exists(os.path.join(self.save_dir, BEST))

    def get_checkpoint_file(self) -> str:
        """Return the newest usable checkpoint, first the one of ``last_checkpoint``; "" when there is none."""
        return self.find_usable()[0]

    def find_usable(self, wanted: Sequence[str] = (), optimized: Shapes = ()) -> tuple[str, str]:
        """Do the same; a file that is damaged or refused is named in a warning and left as it is.

        Args:
            wanted: see `querydet.checkpoint.usable.find_problem`.
            optimized: see there.

        Returns:
            Its path, and what is wrong with the first file that was passed over; "" where there is none.
        """
        problems: list[str] = []
        for path in candidates(self.save_dir):
            problem = find_problem(path, self.model.state_dict(), self.allow_nonfinite, wanted, optimized)
            if problem is None:
                return path, "".join(problems[:1])
            logger.warning("Checkpoint %s is damaged or refused, and is passed over: %s", path, problem)
            problems.append(problem)
        return "", "".join(problems[:1])

    def resume(self, path: str) -> None:
        """Load one of this run's checkpoints with everything in it.

        Args:
            path: of the checkpoint.

        Raises:
            ValueError: something that this run needs is not in the file, or it belongs to another model.
        """
        allowed = self.allow_mismatch, self.allow_backbone_only, self.adapt, self.parts
        self.allow_mismatch = self.allow_backbone_only = self.adapt = False
        self.parts = ()
        try:
            self.load(path)
        finally:
            self.allow_mismatch, self.allow_backbone_only, self.adapt, self.parts = allowed
        missing = [key for key in self.checkpointables if key not in self._keys]
        if missing:
            raise ValueError(f"checkpoint {path} holds no {', '.join(missing)}: it cannot be resumed with this config")

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a file; the attributes of this object say how strictly.

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
        finally:
            self._parsed_url_during_load = None  # else one failed load makes the next one fail

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        check_settings(self.model, settings_of_parts(stored(checkpoint, KEY, {}), self.parts), self.allow_mismatch)
        checkpoint, self._was_aligned = align_backbone(self.model, checkpoint)
        backbone = self._was_aligned or all(key.startswith(BACKBONE) for key in checkpoint["model"])
        chosen = weights_of_parts(self.model, checkpoint["model"], self.parts)
        check_weights(chosen, self.model.state_dict(), "the checkpoint", self.allow_nonfinite)
        if self.adapt and not backbone and self.parts != ("backbone",):
            chosen = self._adapted(checkpoint)
        checkpoint["model"] = chosen
        incompatible = super()._load_model(checkpoint)
        if checkpoint.get(INFERENCE_ONLY) and self.allow_inference_only:
            missing = set(incompatible.missing_keys) - training_only_keys(self.model)
            incompatible = incompatible._replace(missing_keys=sorted(missing))
        if not (backbone and self.allow_backbone_only and check_backbone(self.model, incompatible)):
            incompatible = incompatible._replace(missing_keys=of_parts(incompatible.missing_keys, self.parts))
            check_compatible(self.model, incompatible, self.allow_mismatch)

    def _adapted(self, checkpoint: dict[str, Any]) -> dict[str, Tensor]:
        self.surgery = adapt(
            self.model,
            checkpoint["model"],
            parts=self.parts,
            source_classes=stored(checkpoint, "class_names", ()),
            target_classes=self.class_names,
            class_map=self.class_map,
        )
        logger.info("The checkpoint was adapted to the model:\n  %s", self.surgery.describe())
        return self.surgery.state

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = read_checkpoint(filename)
        refuse_quantized(content, filename)
        self._keys = set(content)
        weights = find_weights(content, filename)
        if weights.is_average and not self.allow_average:
            raise ValueError(
                f"checkpoint {filename} holds only the moving average of the weights ({weights.source!r}): evaluate it "
                "with train.ema.enabled=True, or convert it with querydet convert"
            )
        for note in weights.notes:
            logger.warning("%s: %s", filename, note)
        parsed: Any = self._parsed_url_during_load
        asked = parse_qs(parsed.query) if parsed else {}
        heuristics = asked.pop("matching_heuristics", ["False"]) == ["True"] or weights.source == PYCLS
        if asked:
            raise ValueError(f"nothing is known of {', '.join(asked)} at the end of the address of {filename}")
        if not heuristics and not content.get("matching_heuristics") and (family := recognise_or_none(weights.state)):
            raise ValueError(
                f"checkpoint {filename} has the names of the {family.name} code base: convert it first: "
                f"querydet convert {filename} converted.pth"
            )
        rest = {key: value for key, value in content.items() if key != weights.source} if weights.source else {}
        return {**rest, "model": weights.state} | ({"matching_heuristics": True} if heuristics else {})


def load_weights(
    model: nn.Module, path: str, *, use_ema: bool = False, allow_mismatch: bool = False, allow_nonfinite: bool = False
) -> list[str]:
    """Load a trained model for evaluation or prediction.

    Args:
        model: the model.
        path: a checkpoint of this project.
        use_ema: load the moving average when the file has one.
        allow_mismatch: load the weights whose names and shapes fit.
        allow_nonfinite: load also NaN and infinite weights.

    Returns:
        Names of the classes that it was trained on; empty when the file does not say.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or does not fit the model.
    """
    checkpointer = Checkpointer(model, allow_mismatch=allow_mismatch, allow_backbone_only=False)
    checkpointer.allow_average = use_ema
    checkpointer.allow_inference_only = True
    checkpointer.allow_nonfinite = allow_nonfinite
    extra = checkpointer.load(path)
    if use_ema and "ema" in extra:
        state = find_weights({"ema": extra["ema"]}, path, ema=True).state
        check_weights(state, model.state_dict(), path, allow_nonfinite)
        if not allow_mismatch:
            check_fit(state, model.state_dict(), f"the moving average in {path}")
        model.load_state_dict(fitting(state, model.state_dict()), strict=False)
        logger.info("Using the moving average of the weights in %s", path)
    return list(stored(extra, "class_names", []))


def load_adapted(model: nn.Module, path: str, class_names: Sequence[str] = (), class_map: str | None = None) -> Surgery:
    """Load a checkpoint of a similar detector for fine-tuning, and log what was done; see `adapt`.

    Args:
        model: freshly built.
        path: a checkpoint of this project, or an address that Detectron2 knows.
        class_names: names of the model's classes, in order.
        class_map: name of one of `class_maps.CLASS_MAPS`, for classes that have other names in the file.

    Returns:
        What was done.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or of another kind of model.
    """
    checkpointer = Checkpointer(model, class_names=class_names, allow_backbone_only=False)
    checkpointer.adapt = True
    checkpointer.class_map = find_class_map(class_map)
    checkpointer.load(path)
    assert checkpointer.surgery is not None
    return checkpointer.surgery
