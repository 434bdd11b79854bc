"""DETA, Swin-L, fine-tuned from Objects365 on larger images, 24 epochs.

Bring the weights to start from: those of ``deta_swin_l_24ep.py`` trained on Objects365 with model.num_classes=365. The
class heads are newly initialized, as in the released code.
"""

from .deta_swin_l_24ep import dataloader, lr_multiplier, model, optimizer, train

_train, _test = dataloader.train.mapper.augmentations, dataloader.test.mapper.augmentations
_train.short_sides = [int(1.5 * side) for side in _train.short_sides]
_test.short_side = 1200
_train.max_side = _test.max_side = 2000
optimizer.lr = 5e-5
train.init_checkpoint = "output/deta_swin_l_objects365/model_final.pth"
train.init_allow_mismatch = True
train.output_dir = "output/deta_swin_l_finetune_24ep"
