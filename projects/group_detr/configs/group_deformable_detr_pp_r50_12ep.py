"""Group DETR on Deformable DETR++, R50, 6 groups of 300 queries, 12 epochs (arXiv 2401.03989, table 2)."""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/group_deformable_detr_pp.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train

model.selection.num_groups = 6
optimizer.lr = 2e-4
optimizer.lr_factors = {"backbone": 0.1, "sampling_offsets": 0.1}
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/group_deformable_detr_pp_r50_12ep"
