"""The matching of a model's checkpoints with a data set, for the instability score between any two of them."""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig
from torch import nn

from querydet.checkpoint import load_weights
from querydet.checkpoint.addresses import PREFIX
from querydet.data.catalog import DetectionDataset, check_num_classes, check_same_classes, class_names, is_annotated
from querydet.data.validation_set import need_test_data
from querydet.engine.hooks.matching_stability import FOLDER, training_assigner
from querydet.engine.training import build_model
from querydet.evaluation.instability import InstabilityEvaluator, Matching, as_matching, load_matching
from querydet.evaluation.prediction import run_model
from querydet.evaluation.query_predictions import WithQueries
from querydet.modeling.detector import QueryDetector
from querydet.utils.lazy import instantiate

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


def states_of(path: str) -> list[str]:
    """List the states that a path names, in the order of training.

    Args:
        path: a file, a published model (``querydet://NAME``), or the folder of a run: its matchings
            (``train.instability``), otherwise its checkpoints.

    Raises:
        FileNotFoundError: there is neither.
    """
    if os.path.isfile(path) or path.startswith(PREFIX):
        return [path]
    if not os.path.isdir(path):
        raise FileNotFoundError(f"{path} does not exist: give checkpoints, matchings or the folder of a run")
    for folder in (path, os.path.join(path, FOLDER)):
        kept = sorted(glob.glob(os.path.join(glob.escape(folder), "matching_*.json")))
        kept = [name for name in kept if re.fullmatch(r"matching_\d+\.json", os.path.basename(name))]
        if len(kept) > 1:
            return kept
    numbered = glob.glob(os.path.join(glob.escape(path), "model_*.pth"))
    found = sorted(name for name in numbered if re.fullmatch(r"model_\d+\.pth", os.path.basename(name)))
    final = os.path.join(path, "model_final.pth")
    found += [final] if os.path.isfile(final) else []
    if not found:
        raise FileNotFoundError(
            f"{path} has no matchings and no checkpoints: train with train.instability.enabled=True, or keep "
            "checkpoints with train.checkpointer.period and train.checkpointer.max_to_keep"
        )
    return found


class CheckpointMatcher:
    """Matches the test data of a config with the queries of one checkpoint after the other.

    Args:
        cfg: config of the run.
        progress: batches and name of the checkpoint -> the same batches, shown as they are used.

    Raises:
        ValueError: the model is none of querydet's detectors, or has other classes than the test data.
    """

    def __init__(self, cfg: DictConfig, progress: Progress) -> None:
        self._cfg, self._progress = cfg, progress
        need_test_data(cfg)
        self._loader = instantiate(cfg.dataloader.test)
        mapped = self._loader.dataset
        self._dataset = DetectionDataset(mapped.records, mapped.name, is_annotated(mapped))
        check_num_classes(cfg.model.num_classes, mapped)
        self._model: nn.Module = build_model(cfg)
        if not isinstance(self._model, QueryDetector):
            kind = type(self._model).__name__
            raise ValueError(f"instability needs one of querydet's detectors of queries, and the model is a {kind}")

    def __call__(self, path: str) -> Matching:
        """Match the test data with the queries of a checkpoint.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it does not fit the config.
        """
        trained = load_weights(self._model, path, use_ema=self._cfg.train.ema.enabled)
        if trained:
            check_same_classes(trained, class_names(self._dataset), self._dataset)
        assert isinstance(self._model, QueryDetector)
        detector = WithQueries(self._model)
        evaluator = InstabilityEvaluator(
            dataset=self._dataset, assigner=training_assigner(self._model), distributed=False
        )
        evaluator.reset()
        for batch in self._progress(self._loader, os.path.basename(path)):
            evaluator.process(batch, run_model(detector, batch))
        found = evaluator.gather()
        assert found is not None  # it is not distributed
        return as_matching(found)


def read_or_match(paths: Sequence[str], matcher: Callable[[], CheckpointMatcher]) -> Iterator[tuple[str, Matching]]:
    """Yield path and matching of each state; a matcher is made when the first checkpoint needs one."""
    made: CheckpointMatcher | None = None
    for path in paths:
        if path.endswith(".json"):
            yield path, load_matching(path)
        else:
            made = made or matcher()
            yield path, made(path)
