"""Group DETR with all its parts, on the toy data."""

from tests.models import tiny_config

from .toy_config import dataloader, lr_multiplier, optimizer, train  # noqa: F401 - parts of this config

model = tiny_config("group_conditional_detr", num_classes=6)
