"""DETA, Swin-L, fine-tuned from Objects365 on larger images, 24 epochs.

Starts from the output of ``deta_swin_l_o365_24ep.py``. Class heads are newly initialized, as in the released code;
``train.init_surgery=True train.init_allow_mismatch=False train.init_class_map=objects365_to_coco`` keeps the classes
that both data sets have.
"""

from .deta_swin_l_24ep import dataloader, lr_multiplier, model, optimizer, train

_train, _test = dataloader.train.mapper.augmentations, dataloader.test.mapper.augmentations
_train.short_sides = [int(1.5 * side) for side in _train.short_sides]
_test.short_side = 1200
_train.max_side = _test.max_side = 2000
optimizer.lr = 5e-5
train.init_checkpoint = "output/deta_swin_l_o365_24ep/model_final.pth"
train.init_allow_mismatch = True
train.output_dir = "output/deta_swin_l_finetune_24ep"
