"""Objects365 v2 with the DETR augmentation: training on train and on val without its first 5000 images, which test.

So DINO's authors divide it (IDEA-Research/DINO, issue 109). For the training images alone, as DETA's authors have it,
set ``dataloader.train.dataset`` to the first of the two data sets. Expects ``objects365/{train,val}/`` with the images
and ``objects365/annotations/zhiyuan_objv2_{train,val}.json`` under the folder of the environment variable
DETECTRON2_DATASETS (default ``datasets``). Nobody has published the augmentation; here it is that of COCO.
"""

import os

from detectron2.config import LazyCall as L

from querydet.data import first, join_datasets, load_objects365, without_first

from .coco import dataloader

NUM_CLASSES = 365
HELD_OUT = 5000  # images of val that test
_root = os.path.join(os.getenv("DETECTRON2_DATASETS", "datasets"), "objects365")


def _load(split: str) -> dict:
    return L(load_objects365)(
        annotations=os.path.join(_root, "annotations", f"zhiyuan_objv2_{split}.json"),
        images=os.path.join(_root, split),
        file_names="auto",
        missing_images="known",
        duplicates="keep",
    )


dataloader.train.dataset = L(join_datasets)(
    datasets=[_load("train"), L(without_first)(dataset=_load("val"), count=HELD_OUT)]
)
dataloader.test.dataset = L(first)(dataset=_load("val"), count=HELD_OUT)
