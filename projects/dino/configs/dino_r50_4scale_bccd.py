"""DINO, R50, 4 scales, from scratch on photographs of blood cells (BCCD): the full-size model on one GPU.

Without pretrained weights nothing may be frozen, and batch norms have no statistics to freeze: group norms instead.
"""

from querydet.config import get_config

from .dino_r50_4scale_12ep import model, optimizer, train

dataloader = get_config("common/data/bccd.py").dataloader
lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep

dataloader.train.total_batch_size = 8
model.num_classes = 3
model.backbone.freeze_at = 0
model.backbone.stem.norm = model.backbone.stages.norm = "GN"
optimizer.lr_factors = {"backbone": 1.0}
train.init_checkpoint = ""
train.max_epochs = 50
train.amp.enabled = True
train.output_dir = "output/dino_r50_4scale_bccd"
