"""LVIS v1 with the DETR augmentation and repeated images of rare classes, as Detic trains detectors with queries on it.

Expects Detectron2's layout: ``lvis/lvis_v1_{train,val}.json`` and ``coco/{train,val}2017/`` under the folder of the
environment variable DETECTRON2_DATASETS (default ``datasets``). The training and the validation images are in both
folders. A model for it has 1203 classes.
"""

import os

from detectron2.config import LazyCall as L

from querydet.data import RepeatFactors, load_lvis
from querydet.evaluation import LvisEvaluator

from .coco import dataloader

_root = os.getenv("DETECTRON2_DATASETS", "datasets")

for _part, _split in ((dataloader.train, "train"), (dataloader.test, "val")):
    _part.dataset = L(load_lvis)(
        annotations=os.path.join(_root, "lvis", f"lvis_v1_{_split}.json"),
        images=os.path.join(_root, "coco"),
        masks=False,
    )
dataloader.train.repeat = L(RepeatFactors)(threshold=0.001, power=0.5)
dataloader.evaluator = L(LvisEvaluator)(
    dataset="${..test.dataset}", annotations=None, output_dir=None, max_dets_per_image=300, on_nonfinite="drop"
)
