"""Evaluation through Detectron2's ``inference_on_dataset``."""

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from querydet.checkpoint import Checkpointer, check_exists
from querydet.data.catalog import check_num_classes, check_same_classes, class_names, is_annotated, need_annotations
from querydet.data.media import reader_of
from querydet.data.validation_set import as_trained, warn_of_differences, why_no_test_data
from querydet.engine.distributed.shared_evaluation import SharedEvaluation
from querydet.engine.faults.stopping import StopRequest
from querydet.evaluation.augmented_views import TestTimeAugmentation
from querydet.evaluation.query_predictions import record_queries
from querydet.evaluation.results_file import RUN_FOLDERS
from querydet.fusion import inference_form
from querydet.quantization import load_detector
from querydet.utils.allocator import keep_freed_memory_on
from querydet.utils.lazy import instantiate
from querydet.utils.precisions import check_precision
from querydet.utils.system import network_timeout

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The test data of a model, and the measure.

    Args:
        loader: yields batches of the test data.
        evaluator: Detectron2's evaluator; reset before every evaluation.
        precision: one of `querydet.utils.precisions.PRECISIONS`.
    """

    loader: Any
    evaluator: DatasetEvaluator
    precision: str = "float32"


def build_evaluation(cfg: DictConfig, classes: Sequence[str] = ()) -> Evaluation | None:
    """Build ``dataloader.test`` and ``dataloader.evaluator``, one or a list, and check them against the model.

    Args:
        cfg: the complete config.
        classes: class names of the training data, with which those of the test data are matched by name; empty where
            nobody knows them.

    Returns:
        Both; None when one of them is null or absent: nothing is evaluated then.

    Raises:
        FileNotFoundError: files of the test data do not exist.
        ValueError: the test data have annotations of classes that the model does not have, the list of evaluators is
            empty, or there is no such precision.
    """
    precision = check_precision(cfg.train.get("eval_precision", "float32"))  # runs of earlier versions lack it
    absent = why_no_test_data(cfg) or ("dataloader.evaluator" if cfg.dataloader.get("evaluator") is None else "")
    if absent:
        logger.warning("%s is null: nothing is evaluated", absent)
        return None
    cfg = as_trained(cfg, classes)
    loader = instantiate(cfg.dataloader.test)
    dataset = loader.dataset
    num_classes = OmegaConf.select(cfg, "model.num_classes")
    if num_classes is not None:
        check_num_classes(num_classes, dataset)
        if classes:
            check_same_classes(classes, class_names(dataset), dataset)
    evaluator = cfg.dataloader.evaluator if is_annotated(dataset) else write_results(cfg)
    return Evaluation(loader, combine(instantiate(evaluator)), precision)


def write_results(cfg: DictConfig) -> Any:
    """Return the evaluators of a config with a folder for the detections: theirs, or ``inference/`` of the run.

    For images without annotations, as COCO's test-dev, the detections are all that an evaluation has to show.
    """
    evaluators = copy.deepcopy(cfg).dataloader.evaluator
    for node in evaluators if isinstance(evaluators, ListConfig) else [evaluators]:
        if isinstance(node, DictConfig) and "output_dir" in node and node.output_dir is None:
            node.output_dir = os.path.join(cfg.train.output_dir, RUN_FOLDERS[1])
    return evaluators


def check_test_data(cfg: DictConfig, train: Any, evaluation: Evaluation | None) -> None:
    """Check that test data are of use for a training: they have a best metric, and the model has not seen them.

    Args:
        cfg: the complete config.
        train: the training data, any object with a `name`.
        evaluation: from `build_evaluation`.

    Raises:
        ValueError: a metric is named, and the test data have no annotations.
    """
    if evaluation is None:
        return
    metric, dataset = cfg.train.checkpointer.best_metric, evaluation.loader.dataset
    if metric:
        need_annotations(dataset, f"train.checkpointer.best_metric={metric} (empty: no best checkpoint)")
    warn_of_differences(cfg, train, dataset)


def combine(evaluators: DatasetEvaluator | Sequence[DatasetEvaluator]) -> DatasetEvaluator:
    """Combine one or several evaluators, whose results must have different names.

    Raises:
        ValueError: there are none.
    """
    if isinstance(evaluators, DatasetEvaluator):
        return evaluators
    if not len(evaluators):
        raise ValueError(
            "dataloader.evaluator is an empty list: name an evaluator, or set it to null to evaluate nothing"
        )
    return DatasetEvaluators(list(evaluators))


def evaluate(model: nn.Module, evaluation: Evaluation | None, request: StopRequest | None = None) -> dict[str, Any]:
    """Run a model over the test data and print Detectron2's table of results.

    A detector runs in its form for inference (`querydet.fusion.inference_form`).

    Args:
        model: the model, without a wrapper; it stays as it is.
        evaluation: from `build_evaluation`.
        request: requests to stop that this process receives; None: there are none.

    Returns:
        Results as the evaluator nests them, ``{"bbox": {"AP": ...}}``; empty on other than the main process, and
        without an evaluation.

    Raises:
        EvaluationStopped: a process received a request to stop; in all processes together.
        EvaluationFailedError: it failed in another process.
    """
    if evaluation is None:
        return {}
    shared = SharedEvaluation(evaluation.loader, evaluation.evaluator, request or StopRequest())
    training = model.training
    try:
        form = inference_form(model, evaluation.precision)
        results = inference_on_dataset(record_queries(form, evaluation.evaluator), shared, shared)
    except Exception:
        shared.failed()
        raise
    finally:
        model.train(training)  # Detectron2 does so only when all goes well
    if comm.is_main_process():
        print_csv_format(results)
    return results


def evaluate_only(cfg: DictConfig, model: nn.Module, resume: bool) -> dict[str, Any]:
    """Load ``train.init_checkpoint``, or with ``--resume`` the run's last checkpoint, and evaluate it: ``--eval-only``.

    The moving average is evaluated when ``train.ema.enabled`` and the file has one, and several views of each image
    when ``train.test_time_augmentation.enabled``.

    Raises:
        ValueError: no weights are named, or the model was trained on other classes than those of the test data.
        FileNotFoundError: the weights or the test data do not exist.
    """
    path = cfg.train.init_checkpoint
    allow_nonfinite = cfg.train.get("init_allow_nonfinite", False)  # runs of earlier versions lack it
    if resume:
        finder = Checkpointer(model, cfg.train.output_dir)
        finder.allow_nonfinite = allow_nonfinite
        found, problem = finder.find_usable()
        if problem and not found:
            raise ValueError(
                f"every checkpoint in {cfg.train.output_dir} is damaged or refused; of the newest: {problem}"
            )
        path = found or path
    if not path:
        raise ValueError("--eval-only needs weights: set train.init_checkpoint=path/model_final.pth, or add --resume")
    check_exists(path)
    with network_timeout():
        model, trained = load_detector(
            model,
            path,
            use_ema=cfg.train.ema.enabled,
            allow_mismatch=cfg.train.init_allow_mismatch,
            allow_nonfinite=allow_nonfinite,
        )
    evaluation = build_evaluation(cfg, trained)
    keep_freed_memory_on(next(model.parameters()).device)
    if evaluation is None:
        return {}
    return evaluate(augment_tests(cfg, model, evaluation.precision), evaluation)


def augment_tests(cfg: DictConfig, model: nn.Module, precision: str = "float32") -> nn.Module:
    """Wrap a model as ``train.test_time_augmentation`` says, or return it where that is not enabled.

    Args:
        cfg: the complete config.
        model: with its weights.
        precision: of the form for inference that is wrapped, one of `querydet.utils.precisions.PRECISIONS`.

    Raises:
        ValueError: settings that make no sense.
    """
    settings = OmegaConf.select(cfg, "train.test_time_augmentation")
    if settings is None or not settings.enabled:
        return model
    ensemble = None if settings.ensemble is None else instantiate(settings.ensemble)
    reader = reader_of(OmegaConf.select(cfg, "dataloader.test.mapper"))
    form = inference_form(model, precision)
    wrapper = TestTimeAugmentation(
        form, scales=list(settings.scales), flip=settings.flip, ensemble=ensemble, reader=reader
    )
    logger.info("Test-time augmentation: %d views, %s", len(wrapper.views), type(wrapper.ensemble).__name__)
    return wrapper
