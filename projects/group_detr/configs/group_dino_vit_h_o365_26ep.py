"""Group DETR on DINO, ViT-Huge, 11 groups, on Objects365: what group_dino_vit_h_finetune_12ep starts from.

Published (arXiv 2211.03594, abstract) is that the detector is trained on Objects365 between ImageNet-1k and COCO. All
numbers are ours: epochs, drop and batches of 64 are those of DINO's pre-training, the rest that of the fine-tuning. The
ViT starts from MAE's, which the authors' was trained like; theirs was then fine-tuned on ImageNet-1k.
"""

from querydet.config import get_config

from .group_dino_vit_h_finetune_12ep import lr_multiplier, model, optimizer, train

dataloader = get_config("common/data/objects365.py").dataloader
dataloader.train.total_batch_size = 64
model.num_classes = 365
lr_multiplier.milestones = [22]
train.max_epochs = 26
train.amp.enabled = True
train.init_checkpoint = get_config("common/backbones/vit_h.py").weights.init_checkpoint
train.init_surgery = False
train.init_class_map = None
train.output_dir = "output/group_dino_vit_h_o365_26ep"
