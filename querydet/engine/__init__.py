"""The training engine: what ``train_net.py`` runs, on Detectron2's trainer, hooks and writers."""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
    from querydet.engine.class_counts import give_class_counts
    from querydet.engine.distributed.arguments import argument_parser
    from querydet.engine.distributed.launching import launch
    from querydet.engine.evaluation import evaluate, evaluate_only
    from querydet.engine.faults.nonfinite import NonFiniteError
    from querydet.engine.run.main import main
    from querydet.engine.run.setup import setup_run
    from querydet.engine.trainer import Trainer
    from querydet.engine.training import build_model, train
    from querydet.utils.device import resolve_device

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

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.engine.class_counts": "give_class_counts",
            "querydet.engine.distributed.arguments": "argument_parser",
            "querydet.engine.distributed.launching": "launch",
            "querydet.engine.evaluation": "evaluate evaluate_only",
            "querydet.engine.faults.nonfinite": "NonFiniteError",
            "querydet.engine.run.main": "main",
            "querydet.engine.run.setup": "setup_run",
            "querydet.engine.trainer": "Trainer",
            "querydet.engine.training": "build_model train",
            "querydet.utils.device": "resolve_device",
        },
    )
