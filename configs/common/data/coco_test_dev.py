"""COCO with test-dev as the test data: detections for COCO's server instead of metrics.

Expects ``coco/annotations/image_info_test-dev2017.json`` and ``coco/test2017/`` under the folder of the environment
variable DETECTRON2_DATASETS (default ``datasets``). A recipe as it is does the same by ``querydet eval --submission
NAME`` and these two paths of the test data. A run that trains with these test data has no best checkpoint:
``train.checkpointer.best_metric=``.
"""

import os

from detectron2.config import LazyCall as L

from querydet.evaluation import SubmissionWriter

from .coco import dataloader

_root = os.path.join(os.getenv("DETECTRON2_DATASETS", "datasets"), "coco")

dataloader.test.dataset.annotations = os.path.join(_root, "annotations", "image_info_test-dev2017.json")
dataloader.test.dataset.images = os.path.join(_root, "test2017")
dataloader.test.dataset.need_annotations = False
dataloader.evaluator = L(SubmissionWriter)(
    dataset="${..test.dataset}", name="querydet", output_dir=None, split=None, on_nonfinite="drop"
)
