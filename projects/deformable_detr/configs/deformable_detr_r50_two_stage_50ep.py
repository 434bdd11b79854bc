"""Two-stage Deformable DETR with box refinement, R50, 50 epochs."""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/deformable_detr.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep
train = get_config("common/train.py").train

dataloader.train.total_batch_size = 32
optimizer.lr = 2e-4
optimizer.lr_factors = {"backbone": 0.1, "sampling_offsets": 0.1}
train.max_epochs = 50
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/deformable_detr_r50_two_stage_50ep"
