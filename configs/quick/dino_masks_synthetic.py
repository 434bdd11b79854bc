"""The small DINO of ``dino_synthetic.py`` with masks: instance segmentation of synthetic shapes on two CPU cores."""

from querydet.config import get_config

from .dino_synthetic import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/dino_masks_tiny.py").model
model.num_classes = 6
dataloader.train.dataset.masks = True
train.checkpointer.best_metric = "segm/AP"
train.output_dir = "output/quick_masks"
