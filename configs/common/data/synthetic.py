"""Synthetic shapes, written on first use: 1000 training and 200 validation images of 128x128, six classes."""

import os

from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from querydet.data import (
    DetrDatasetMapper,
    SceneStyle,
    build_test_loader,
    build_train_loader,
    detr_test_augmentations,
    detr_train_augmentations,
    load_synthetic,
)
from querydet.evaluation import CocoEvaluator

dataloader = OmegaConf.create()

dataloader.train = L(build_train_loader)(
    dataset=L(load_synthetic)(
        root=os.path.join(os.getenv("QUERYDET_DATA", "datasets"), "synthetic"),
        split="train",
        num_images=1000,
        image_size=128,
        seed=0,
        style=L(SceneStyle)(),
        masks=False,
    ),
    mapper=L(DetrDatasetMapper)(
        is_train=True,
        augmentations=L(detr_train_augmentations)(
            flip_prob=0.5,
            short_sides=[112, 128, 144],
            max_side=192,
            crop_prob=0.0,
            crop_short_sides=[112, 128, 144],
            crop_sides=[80, 128],
            rounding="floor",
        ),
        image_format="RGB",
        on_bad_image="raise",
    ),
    total_batch_size=8,
    num_workers=2,
)

dataloader.test = L(build_test_loader)(
    dataset=L(load_synthetic)(
        root="${...train.dataset.root}",
        split="val",
        num_images=200,
        image_size="${...train.dataset.image_size}",
        seed="${...train.dataset.seed}",
        style="${...train.dataset.style}",
        masks="${...train.dataset.masks}",
    ),
    mapper=L(DetrDatasetMapper)(
        is_train=False,
        augmentations=L(detr_test_augmentations)(short_side=128, max_side=192, rounding="floor"),
        image_format="${...train.mapper.image_format}",
        on_bad_image="raise",
    ),
    batch_size=8,
    num_workers=2,
)

dataloader.evaluator = L(CocoEvaluator)(
    dataset="${..test.dataset}", output_dir=None, max_dets_per_image=100, backend="auto", on_nonfinite="drop"
)
