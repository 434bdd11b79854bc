"""MS-DETR on Deformable DETR, R50, 300 queries, 12 epochs: placement (c) with shared heads.

Row of tables 1, 5 (c) and 6 (both heads shared); the released ms_detr_300.
"""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/ms_detr_plain.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train

optimizer.lr = 2e-4
optimizer.lr_factors = {"backbone": 0.1, "sampling_offsets": 0.1}
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/ms_detr_r50_12ep"
