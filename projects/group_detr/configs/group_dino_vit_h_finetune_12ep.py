"""Group DETR on DINO, ViT-Huge, 11 groups, larger images, 12 epochs on COCO: PaddleDetection's model of the paper.

Its transformer has windows and relative positions, but no absolute ones; every block learns at 0.7 of the rate of the
one behind it. The paper's chain (Group DETR v2, arXiv 2211.03594) is a ViT trained without labels and then on
ImageNet-1k, the detector on Objects365 (``group_dino_vit_h_o365_26ep.py``), and this. Ours are the 1x1 convolutions and
norms between pyramid and encoder, and that the classes which both data sets have are kept.
"""

from querydet.config import get_config, use_backbone
from querydet.engine.layer_decay import layer_decay

from .group_dino_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

use_backbone("vit_h", model, optimizer, train)
model.backbone.net.drop_path_rate = 0.1
model.backbone.net.absolute_positions = False
optimizer.lr_factors = layer_decay("backbone.net", depth=32, decay=0.7, embeddings=["patch_embed"])
dataloader.train.total_batch_size = 8
dataloader.train.mapper.augmentations.update(
    {
        "short_sides": list(range(480, 1185, 32)),
        "max_side": 2000,
        "crop_short_sides": [400, 500, 600, 700, 800, 900],
        "crop_sides": [384, 900],
    }
)
dataloader.test.mapper.augmentations.update({"short_side": 1184, "max_side": 2000})
train.init_checkpoint = "output/group_dino_vit_h_o365_26ep/model_final.pth"
train.init_surgery = True
train.init_class_map = "objects365_to_coco"
train.output_dir = "output/group_dino_vit_h_finetune_12ep"
