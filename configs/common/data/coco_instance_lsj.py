"""COCO 2017 with masks and large-scale jitter, as Mask2Former's released code trains and tests it.

Objects without a pixel in the augmented image are left out. Different here: images without objects are trained on too.
"""

from detectron2.config import LazyCall as L

from querydet.data import NonEmptyMaskMapper, large_scale_jitter

from .coco_instance import dataloader

dataloader.train.mapper._target_ = NonEmptyMaskMapper
dataloader.train.mapper.augmentations = L(large_scale_jitter)(
    image_size=1024, min_scale=0.1, max_scale=2.0, flip_prob=0.5, pad_value=128
)
dataloader.test.mapper.augmentations.rounding = "nearest"
