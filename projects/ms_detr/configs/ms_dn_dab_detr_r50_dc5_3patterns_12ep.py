"""MS-DETR with DN-DETR on dense attention, R50-DC5, 12 epochs (arXiv 2401.03989, table 2).

The paper's text says R50-DC5; its baseline is what DN-DETR's authors publish with three contents for each box.
"""

from querydet.config import get_config

from .ms_dn_dab_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone = get_config("common/backbones/resnet_dc5.py").backbone
model.selection.num_patterns = 3
model.selection.shared_content = True
train.output_dir = "output/ms_dn_dab_detr_r50_dc5_3patterns_12ep"
