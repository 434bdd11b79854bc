"""COCO 2017 with the DETR augmentation, as the official code trains and tests it.

Expects Detectron2's layout: ``coco/annotations/instances_{train,val}2017.json`` and ``coco/{train,val}2017/`` under the
folder of the environment variable DETECTRON2_DATASETS (default ``datasets``).
"""

import os

from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from querydet.data import (
    DetrDatasetMapper,
    build_test_loader,
    build_train_loader,
    detr_test_augmentations,
    detr_train_augmentations,
    load_coco,
)
from querydet.evaluation import CocoEvaluator

_root = os.path.join(os.getenv("DETECTRON2_DATASETS", "datasets"), "coco")

dataloader = OmegaConf.create()

dataloader.train = L(build_train_loader)(
    dataset=L(load_coco)(
        annotations=os.path.join(_root, "annotations", "instances_train2017.json"),
        images=os.path.join(_root, "train2017"),
        masks=False,
    ),
    mapper=L(DetrDatasetMapper)(
        is_train=True,
        augmentations=L(detr_train_augmentations)(
            flip_prob=0.5,
            short_sides=[480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800],
            max_side=1333,
            crop_prob=0.5,
            crop_short_sides=[400, 500, 600],
            crop_sides=[384, 600],
            rounding="floor",
        ),
        image_format="RGB",
        on_bad_image="raise",
    ),
    total_batch_size=16,
    num_workers=4,
)

dataloader.test = L(build_test_loader)(
    dataset=L(load_coco)(
        annotations=os.path.join(_root, "annotations", "instances_val2017.json"),
        images=os.path.join(_root, "val2017"),
        masks=False,
    ),
    mapper=L(DetrDatasetMapper)(
        is_train=False,
        augmentations=L(detr_test_augmentations)(short_side=800, max_side=1333, rounding="floor"),
        image_format="${...train.mapper.image_format}",
        on_bad_image="raise",
    ),
    batch_size=1,
    num_workers=4,
)

dataloader.evaluator = L(CocoEvaluator)(
    dataset="${..test.dataset}", output_dir=None, max_dets_per_image=100, backend="auto", on_nonfinite="drop"
)
