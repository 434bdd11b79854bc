"""Tracking, during training, how stable the matching is from epoch to epoch."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim.swa_utils import AveragedModel

from querydet.data.catalog import DetectionDataset
from querydet.engine.distributed.sharding import collected_parameters
from querydet.engine.evaluation import Evaluation, evaluate
from querydet.engine.faults.stopping import StopRequest
from querydet.engine.hooks.core import EvalHook
from querydet.evaluation.instability import InstabilityEvaluator
from querydet.modeling.assigners import HungarianAssigner
from querydet.structures import Role, Stage

FOLDER = "matching"  # in the output folder, a file for every epoch


class InstabilityHook(EvalHook):
    """Puts ``instability/IS`` (`querydet.evaluation.instability`) into the metrics; compares with the time before.

    Args:
        period, function, on_stop, max_failed: of `EvalHook`; the function is from :func:`track_instability`.
    """


def track_instability(
    cfg: DictConfig, test: Evaluation | None, model: nn.Module, ema: AveragedModel | None, request: StopRequest
) -> Callable[[], dict[str, Any]] | None:
    """A function that matches the test data with the weights that count, and compares with the matching before.

    The matchings are kept in ``matching/`` of the output folder, where a resumed run finds them.

    Returns:
        None where ``train.instability`` is not enabled.

    Raises:
        ValueError: it is enabled, and there is no test data.
    """
    if not OmegaConf.select(cfg, "train.instability.enabled"):
        return None
    if test is None:
        raise ValueError("train.instability.enabled needs test data: dataloader.test and dataloader.evaluator")
    mapped = test.loader.dataset
    dataset = DetectionDataset([mapped.record(index) for index in range(len(mapped))], mapped.name)
    evaluator = InstabilityEvaluator(
        dataset=dataset, assigner=training_assigner(model), folder=os.path.join(cfg.train.output_dir, FOLDER)
    )
    return partial(_measure, Evaluation(test.loader, evaluator), model, ema, request)


def _measure(
    evaluation: Evaluation, model: nn.Module, ema: AveragedModel | None, request: StopRequest
) -> dict[str, Any]:
    with collected_parameters(model, *([ema.module] if ema else [])):
        return comm.all_gather(evaluate(ema.module if ema else model, evaluation, request))[0]


def training_assigner(model: nn.Module) -> HungarianAssigner | None:
    """The bipartite matching that the last layer is trained with; None where it is trained with another one."""
    for rule in getattr(getattr(model, "criterion", None), "rules", ()):
        if rule.stage is Stage.DECODER and rule.role is Role.MATCHING and isinstance(rule.assigner, HungarianAssigner):
            return rule.assigner
    return None
