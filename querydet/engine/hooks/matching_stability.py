"""The stability of the matching from epoch to epoch, measured during training."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from detectron2.utils import comm
from omegaconf import OmegaConf
from torch import nn

from querydet.data.catalog import DetectionDataset, is_annotated
from querydet.engine.distributed.sharding import collected_parameters
from querydet.engine.evaluation import Evaluation, evaluate
from querydet.engine.hooks.evaluating import EvalHook
from querydet.engine.run.run_parts import RunParts
from querydet.evaluation.instability import InstabilityEvaluator
from querydet.evaluation.query_predictions import record_queries
from querydet.parts import Assigner
from querydet.structures import Branch, Role, Stage
from querydet.traits import trait

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
        ValueError: it is enabled, and there is no test data, or the detector predicts no boxes or is matched by masks.
    """
    if not OmegaConf.select(parts.cfg, "train.instability.enabled"):
        return None
    if parts.test is None:
        raise ValueError("train.instability.enabled needs test data: dataloader.test and dataloader.evaluator")
    mapped = parts.test.loader.dataset
    dataset = DetectionDataset(mapped.records, mapped.name, is_annotated(mapped))
    folder = os.path.join(parts.cfg.train.output_dir, FOLDER)
    evaluator = InstabilityEvaluator(dataset=dataset, assigner=training_assigner(parts.model), folder=folder)
    record_queries(parts.model, evaluator)  # refuses now what it would refuse after an epoch
    return partial(_measure, parts, Evaluation(parts.test.loader, evaluator))


def _measure(parts: RunParts, evaluation: Evaluation) -> dict[str, Any]:
    with collected_parameters(*parts.models):
        return comm.all_gather(evaluate(parts.evaluated_model, evaluation, parts.request))[0]


def training_assigner(model: nn.Module) -> Assigner | None:
    """Return the one-to-one assigner that trains the predictions of inference; None where they have another one."""
    for rule in trait(getattr(model, "criterion", None), "rules").values():
        inference = (rule.stage, rule.role, rule.branch) == (Stage.DECODER, Role.MATCHING, Branch.ONE_TO_ONE)
        if inference and trait(rule.assigner, "one_to_one"):
            return rule.assigner
    return None
