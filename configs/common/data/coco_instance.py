"""COCO 2017 with masks and the DETR augmentation, as DETR's family trains instance segmentation."""

from .coco import dataloader

dataloader.train.dataset.masks = True
dataloader.test.dataset.masks = True
