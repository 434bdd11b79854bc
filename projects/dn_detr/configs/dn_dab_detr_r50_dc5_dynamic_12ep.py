"""DN-DETR with dense attention, R50-DC5, about 100 denoising queries an image, 12 epochs (Group DETR, table 3)."""

from detectron2.config import LazyCall as L

from querydet.modeling.queries import GroupsPerImage

from .dn_dab_detr_r50_dc5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.groups = L(GroupsPerImage)(num_queries=100, max_objects=None)
train.output_dir = "output/dn_dab_detr_r50_dc5_dynamic_12ep"
