"""BCCD: 364 photographs of blood cells, 640x480, classes RBC, WBC and Platelets (https://github.com/Shenggan/BCCD_Dataset).

In COCO format under the folder of the environment variable QUERYDET_DATA (default ``datasets``):
``bccd/annotations/instances_{train,val,test}.json`` and ``bccd/images/``. Evaluation during training is on val; for the
final number evaluate once with ``dataloader.test.dataset.annotations=.../instances_test.json``.
"""

import os

from .coco import dataloader

_root = os.path.join(os.getenv("QUERYDET_DATA", "datasets"), "bccd")

dataloader.train.dataset.annotations = os.path.join(_root, "annotations", "instances_train.json")
dataloader.train.dataset.images = os.path.join(_root, "images")
dataloader.test.dataset.annotations = os.path.join(_root, "annotations", "instances_val.json")
dataloader.test.dataset.images = os.path.join(_root, "images")
