"""The file of detections has the ids of the json, and nothing of classes that the json lacks."""

import json

import numpy as np
import torch

from querydet.evaluation.coco_backend import coco_api
from querydet.evaluation.detections_file import write_detections
from querydet.evaluation.image_detections import ImageDetections
from querydet.utils.run_lengths import encode_masks, mask_areas


def test_ids_of_the_json_without_absent_classes(tmp_path):
    rows = {
        7: ImageDetections(np.array([[1, 2, 3, 4, 0.5, 0], [5, 6, 7, 8, 0.25, 1]])),
        9: ImageDetections(np.zeros((0, 6))),
    }
    path = write_detections(str(tmp_path / "new"), rows, [40, 30], absent=(1,))
    with open(path) as file:
        assert json.load(file) == [{"image_id": 7, "category_id": 40, "bbox": [1, 2, 3, 4], "score": 0.5}]


def test_masks_stand_beside_the_boxes_and_pycocotools_reads_both(tmp_path):
    masks = encode_masks(torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0)) < 0.5)
    rows = np.array([[1, 2, 3, 4, 0.5, 0], [5, 6, 7, 8, 0.25, 1]])
    detections = {7: ImageDetections(rows, masks=masks), 9: ImageDetections(rows[:0], masks=[])}
    path = write_detections(str(tmp_path), detections, [40, 30], absent=(0,))
    truth = coco_api(
        {
            "images": [{"id": number, "width": 30, "height": 20} for number in (7, 9)],
            "annotations": [],
            "categories": [{"id": 40, "name": "a"}, {"id": 30, "name": "b"}],
        }
    )
    (entry,) = truth.loadRes(path).anns.values()
    assert (entry["image_id"], entry["category_id"], entry["bbox"]) == (7, 30, [5, 6, 7, 8])
    assert entry["segmentation"] == masks[1]
    assert truth.annToMask(entry).sum() == mask_areas(masks)[1]
