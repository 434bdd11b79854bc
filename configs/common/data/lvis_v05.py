"""LVIS v0.5, as ``lvis.py``: ``lvis/lvis_v0.5_{train,val}.json``. A model for it has 1230 classes."""

import os

from .lvis import dataloader

_root = os.path.join(os.getenv("DETECTRON2_DATASETS", "datasets"), "lvis")

dataloader.train.dataset.annotations = os.path.join(_root, "lvis_v0.5_train.json")
dataloader.test.dataset.annotations = os.path.join(_root, "lvis_v0.5_val.json")
