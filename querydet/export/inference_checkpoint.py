"""Checkpoints for inference only."""

from collections.abc import Sequence

import torch
from torch import nn

from querydet.checkpoint.settings import KEY, read_settings
from querydet.checkpoint.training_only import INFERENCE_ONLY, inference_state
from querydet.utils.atomic import atomic_write


def export_checkpoint(model: nn.Module, path: str, class_names: Sequence[str] = ()) -> None:
    """Write the weights that inference needs, without the optimizer and the heads and groups of training.

    Args:
        model: with the weights to write.
        path: of the file; `querydet.Predictor` and `--eval-only` load it, and training continues from it with
            `train.init_surgery=True`.
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
