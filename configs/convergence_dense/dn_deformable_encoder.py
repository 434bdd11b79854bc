"""DN-DETR with a deformable encoder and standard attention to three levels, as Conditional DETR is trained."""

from querydet.config import get_config
from querydet.config.miniature import shrink

from .conditional_detr import dataloader, lr_multiplier, optimizer, train

model = shrink(get_config("common/models/dn_deformable_encoder.py").model)
model.num_classes = 6
train.output_dir = "output/convergence_dense/dn_deformable_encoder"
