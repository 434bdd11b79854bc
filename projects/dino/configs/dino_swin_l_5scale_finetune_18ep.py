"""DINO, Swin-L, 5 scales, 18 epochs on COCO from Objects365, on images of 1.5 times the size (table 3).

Starts from the output of ``dino_swin_l_5scale_o365_26ep.py``. Class heads and the labels of denoising restart, as with
the option that the released code has for it; ``train.init_surgery=True train.init_allow_mismatch=False
train.init_class_map=objects365_to_coco`` keeps the classes that both data sets have.

Published (arXiv 2203.03605, D.2 and D.3): epochs, batches of 16, image sizes, recomputation, mixed precision and 1000
denoising queries. Crops of 1.5 times the size are those of the released option for larger images. Learning rates (the
paper's only ones), the drop after 15 epochs and bfloat16 are ours.
"""

from .dino_swin_l_5scale_12ep import dataloader, lr_multiplier, model, optimizer, train

_train, _test = dataloader.train.mapper.augmentations, dataloader.test.mapper.augmentations
for _key in ("short_sides", "crop_short_sides", "crop_sides"):
    _train[_key] = [int(1.5 * side) for side in _train[_key]]
_test.short_side = 1200
_train.max_side = _test.max_side = 2000
model.denoising.groups.num_queries = 1000
lr_multiplier.milestones = [15]
train.max_epochs = 18
train.amp.enabled = True
train.activation_checkpointing = ["encoder", "decoder"]
train.init_checkpoint = "output/dino_swin_l_5scale_o365_26ep/model_final.pth"
train.init_allow_mismatch = True
train.output_dir = "output/dino_swin_l_5scale_finetune_18ep"
