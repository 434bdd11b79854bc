"""The stability of the matching from epoch to epoch, measured during training."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from detectron2.utils import comm
from omegaconf import OmegaConf
from torch import nn

from querydet.data.catalog import DetectionDataset
from querydet.engine.distributed.sharding import collected_parameters
from querydet.engine.evaluation import Evaluation, evaluate
from querydet.engine.hooks.evaluating import EvalHook
from querydet.engine.run.run_parts import RunParts
from querydet.evaluation.instability import InstabilityEvaluator
from querydet.modeling.assigners import HungarianAssigner
from querydet.structures import Role, Stage

FOLDER = "matching"  # in the output folder, a file for every epoch


class InstabilityHook(EvalHook):
    """Writes ``instability/IS`` (`querydet.evaluation.instability`): how much differs from the matching before.

    Args:
        period: see `EvalHook`.
        function: from `track_instability`.
        on_stop: see `EvalHook`.
        max_failed: see `EvalHook`.
    """


def track_instability(parts: RunParts) -> Callable[[], dict[str, Any]] | None:
    """Return a function that matches the test data with the weights that count and compares with the matching before.

    The matchings are kept in ``matching/`` of the output folder, where a resumed run finds them.

    Returns:
        The function; None where ``train.instability`` is not enabled.

    Raises:
        ValueError: it is enabled, and there is no test data.
    """
    if not OmegaConf.select(parts.cfg, "train.instability.enabled"):
        return None
    if parts.test is None:
        raise ValueError("train.instability.enabled needs test data: dataloader.test and dataloader.evaluator")
    mapped = parts.test.loader.dataset
    dataset = DetectionDataset([mapped.record(index) for index in range(len(mapped))], mapped.name)
    folder = os.path.join(parts.cfg.train.output_dir, FOLDER)
    evaluator = InstabilityEvaluator(dataset=dataset, assigner=training_assigner(parts.model), folder=folder)
    return partial(_measure, parts, Evaluation(parts.test.loader, evaluator))


def _measure(parts: RunParts, evaluation: Evaluation) -> dict[str, Any]:
    with collected_parameters(*parts.models):
        return comm.all_gather(evaluate(parts.evaluated_model, evaluation, parts.request))[0]


def training_assigner(model: nn.Module) -> HungarianAssigner | None:
    """Return the bipartite matching that trains the last layer; None where another one does."""
    for rule in getattr(getattr(model, "criterion", None), "rules", ()):
        if rule.stage is Stage.DECODER and rule.role is Role.MATCHING and isinstance(rule.assigner, HungarianAssigner):
            return rule.assigner
    return None
