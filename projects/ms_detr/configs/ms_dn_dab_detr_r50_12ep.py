"""MS-DETR with DN-DETR on dense attention, R50, 12 epochs; the paper's row is on R50-DC5."""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/ms_dn_dab_detr.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train

train.max_epochs = 12
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/ms_dn_dab_detr_r50_12ep"
