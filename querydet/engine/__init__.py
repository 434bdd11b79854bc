"""The training engine: what ``train_net.py`` runs, on Detectron2's trainer, hooks, writers and launch."""

from querydet.engine.evaluate import evaluate, evaluate_only
from querydet.engine.launch import argument_parser, launch
from querydet.engine.program import main
from querydet.engine.setup import resolve_device, setup_run
from querydet.engine.train import build_model, train
from querydet.engine.trainer import NonFiniteError, Trainer

__all__ = [
    "NonFiniteError",
    "Trainer",
    "argument_parser",
    "build_model",
    "evaluate",
    "evaluate_only",
    "launch",
    "main",
    "resolve_device",
    "setup_run",
    "train",
]
