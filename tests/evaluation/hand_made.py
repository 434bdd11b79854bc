"""Data sets and queries small enough to compute measures by hand."""

import itertools

import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.query_predictions import QueryRecord

SIZE = (100, 200)  # height, width
_names = itertools.count()


def make_dataset(*images, classes=3, size=SIZE):
    """A data set of images 1, 2, ..., each a list of boxes (x, y, w, h), or of dicts with more than a box."""
    name = f"hand_made_{next(_names)}"
    MetadataCatalog.get(name).thing_classes = [f"class {index}" for index in range(classes)]
    records = []
    for number, boxes in enumerate(images, start=1):
        items = [item if isinstance(item, dict) else {"bbox": item} for item in boxes]
        annotations = [{"bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, **item} for item in items]
        records.append(
            {
                "image_id": number,
                "file_name": f"{number}.png",
                "height": size[0],
                "width": size[1],
                "annotations": annotations,
            }
        )
    return DetectionDataset(records, name)


def one_query_per(boxes, start=None, labels=None, classes=3, tokens=None, confidence=4.0):
    """Queries of one layer that predict the given boxes (cx, cy, w, h), sure of their labels."""
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    logits = torch.full((len(boxes), classes), -confidence)
    logits[torch.arange(len(boxes)), torch.tensor(labels or [0] * len(boxes), dtype=torch.int64)] = confidence
    start = boxes if start is None else torch.tensor(start, dtype=torch.float32)
    return QueryRecord(start, logits[None], boxes[None], None if tokens is None else torch.tensor(tokens))


def detections(boxes, scores, labels=None, size=SIZE):
    """Instances from boxes (x0, y0, x1, y1)."""
    found = Instances(size, pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)))
    found.scores = torch.tensor(scores, dtype=torch.float32)
    found.pred_classes = torch.tensor(labels or [0] * len(scores), dtype=torch.int64)
    return found


def run(evaluator, **outputs):
    """Evaluate outputs of images by number: ``run(evaluator, **{"1": {...}})`` or with lists over all images."""
    evaluator.reset()
    for image, output in outputs.items():
        evaluator.process([{"image_id": int(image.strip("_"))}], [output])
    return evaluator.evaluate()


def in_two_processes(make, outputs, monkeypatch):
    """The results of rank 0 of two processes that each have a part of the images, and of rank 1."""
    from detectron2.utils import comm

    ranks = []
    items = list(outputs.items())
    for share in (items[: len(items) // 2], items[len(items) // 2 :]):
        evaluator = make()
        evaluator.reset()
        for image, output in share:
            evaluator.process([{"image_id": int(image.strip("_"))}], [output])
        ranks.append(evaluator)
    gathered = [evaluator._found for evaluator in ranks]
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    monkeypatch.setattr(comm, "gather", lambda data, dst=0: gathered if comm.get_rank() == dst else [])
    first = ranks[0].evaluate()
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    return first, ranks[1].evaluate()
