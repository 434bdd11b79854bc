"""Sixteen synthetic images, batches of four, four iterations an epoch."""

import os
import tempfile

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.data.build import build_test_loader, build_train_loader
from querydet.data.mapper import DetrDatasetMapper
from querydet.data.synthetic import load_synthetic
from tests.engine.toy import ToyDetector, ToyEvaluator

_root = os.environ.get("QUERYDET_TOY_DATA", os.path.join(tempfile.gettempdir(), "querydet_toy"))

model = L(ToyDetector)(num_classes=6)
dataloader = {
    "train": L(build_train_loader)(
        dataset=L(load_synthetic)(root=_root, split="train", num_images=16, image_size=32),
        mapper=L(DetrDatasetMapper)(is_train=True, augmentations=[]),
        total_batch_size=4,
        num_workers=0,
    ),
    "test": L(build_test_loader)(
        dataset=L(load_synthetic)(root=_root, split="val", num_images=3, image_size=32),
        mapper=L(DetrDatasetMapper)(is_train=False, augmentations=[]),
        num_workers=0,
    ),
    "evaluator": L(ToyEvaluator)(),
}
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train
train.max_epochs = 3
train.output_dir = ""
train.log_period = 2
train.ema.enabled = True
optimizer.lr = 0.01
lr_multiplier.milestones = [2]
