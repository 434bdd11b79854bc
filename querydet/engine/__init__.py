"""The training engine: what ``train_net.py`` runs, on Detectron2's trainer, hooks and writers."""

import querydet.model_zoo  # noqa: F401 - makes querydet:// known, for train.init_checkpoint
from querydet.engine.class_counts import give_class_counts
from querydet.engine.distributed.launching import argument_parser, launch
from querydet.engine.evaluation import evaluate, evaluate_only
from querydet.engine.faults.nonfinite import NonFiniteError
from querydet.engine.run.main import main
from querydet.engine.run.setup import resolve_device, setup_run
from querydet.engine.trainer import Trainer
from querydet.engine.training import build_model, train

__all__ = [
    "NonFiniteError",
    "Trainer",
    "argument_parser",
    "build_model",
    "evaluate",
    "evaluate_only",
    "give_class_counts",
    "launch",
    "main",
    "resolve_device",
    "setup_run",
    "train",
]
