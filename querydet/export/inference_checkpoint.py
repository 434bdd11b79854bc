"""Checkpoints for inference alone."""

from collections.abc import Sequence

import torch
from torch import nn

from querydet.checkpoint.settings import KEY, read_settings
from querydet.checkpoint.training_only import INFERENCE_ONLY, inference_state
from querydet.utils.atomic import atomic_write


def export_checkpoint(model: nn.Module, path: str, class_names: Sequence[str] = ()) -> None:
    """Write the weights that inference needs, and nothing else: no optimizer, no heads and groups of training.

    Args:
        model: with the weights to write.
        path: the file; ``querydet.Predictor`` and ``--eval-only`` load it, and ``train.init_surgery=True`` trains on.
        class_names: by class index.
    """
    content = {
        "model": inference_state(model),
        "class_names": list(class_names),
        INFERENCE_ONLY: True,
        KEY: read_settings(model),
    }
    with atomic_write(path) as file:
        torch.save(content, file)
