"""Mask2Former for instance segmentation, R50, 100 queries, 50 epochs (arXiv 2112.01527)."""

from querydet.config import get_config

dataloader = get_config("common/data/coco_instance_lsj.py").dataloader
model = get_config("common/models/mask2former.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_mask2former_50ep
train = get_config("common/train.py").train

optimizer.weight_decay = 0.05
optimizer.norm_weight_decay = 0.0
optimizer.embedding_weight_decay = 0.0
train.max_epochs = 50
train.clip_grad_norm = 0.01
train.checkpointer.best_metric = "segm/AP"
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/mask2former_r50_50ep"
