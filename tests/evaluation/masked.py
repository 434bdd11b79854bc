"""Random data sets with masks in every form of COCO, and detections that are more or less right."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask

from querydet.utils.run_lengths import decode_masks, encode_masks
from tests.evaluation.hand_made import make_dataset

SIZES = [(60, 90), (130, 70), (101, 103)]  # height, width


def ellipse(rng, height, width):
    """A mask of an ellipse that may reach over the border, with a hole."""
    y, x = np.mgrid[:height, :width]
    centre, radii = rng.uniform([0, 0], [height, width]), rng.uniform(4, 40, 2)
    distance = np.hypot((y - centre[0]) / radii[0], (x - centre[1]) / radii[1])
    return (distance < 1) & (distance > rng.choice([0.0, 0.4]))


def polygons(rng, height, width):
    """One or two polygons of 3 to 7 points with fractions, as of a json."""
    return [
        (rng.uniform([0, 0], [width, height]) + rng.uniform(-25, 25, (rng.integers(3, 8), 2))).ravel()
        for _ in range(rng.integers(1, 3))
    ]


def pixels(segmentation, size):
    """The pixels of a segmentation by pycocotools."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, *size)
        return coco_mask.decode(segmentation).astype(bool)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))).astype(bool)


def run_lengths(mask, text):
    """Run lengths of a mask (H, W), as a text or as a list."""
    if text:
        return encode_masks(torch.from_numpy(mask)[None])[0]
    columns = mask.T.ravel().astype(np.int64)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], columns]))).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, len(columns)]).tolist()}


def random_dataset(seed, num_images=12, classes=3, crowds=0.15):
    """Images of several sizes, some without objects; polygons and run lengths, crowd regions and areas of a json."""
    rng = np.random.default_rng(seed)
    images, sizes = [], []
    for _ in range(num_images):
        size = SIZES[rng.integers(len(SIZES))]
        items = []
        for _ in range(rng.integers(0, 6)):
            kind = rng.integers(3)
            segmentation = polygons(rng, *size) if not kind else run_lengths(ellipse(rng, *size), kind == 1)
            mask = pixels(segmentation, size)
            items.append(
                {
                    "segmentation": segmentation,
                    "bbox": box_of(mask),
                    "category_id": int(rng.integers(classes)),
                    "iscrowd": int(rng.uniform() < crowds),
                    "area": float(mask.sum() * rng.uniform(0.8, 1.2)) + 1,
                }
            )
        images.append(items)
        sizes.append(size)
    dataset = make_dataset(*images, classes=classes)
    for record, (height, width) in zip(dataset, sizes, strict=True):
        record |= {"height": height, "width": width}
    return dataset


def box_of(mask):
    """The box x, y, w, h around a mask; of one pixel if the mask is empty."""
    x, y, w, h = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))).tolist()
    return [x, y, max(w, 1.0), max(h, 1.0)]


def truth_masks(record):
    size = (record["height"], record["width"])
    return [pixels(item["segmentation"], size) for item in record["annotations"]]


def with_masks(size, masks, scores, labels, boxes=None):
    """Instances with masks (H, W) and the boxes around them, or those given as x, y, w, h."""
    masks = np.array(masks, dtype=bool).reshape(-1, *size)
    corners = np.array([box_of(mask) for mask in masks] if boxes is None else boxes).reshape(-1, 4)
    corners = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
    return Instances(
        size,
        pred_boxes=Boxes(torch.from_numpy(corners).float()),
        scores=torch.tensor(scores, dtype=torch.float32).reshape(-1),
        pred_classes=torch.tensor(labels, dtype=torch.int64).reshape(-1),
        pred_masks=torch.from_numpy(masks),
    )


def exact(record):
    """Detections that are the annotations without crowd regions."""
    items = [(item, mask) for item, mask in zip(record["annotations"], truth_masks(record), strict=True)]
    items = [(item, mask) for item, mask in items if not item["iscrowd"]]
    labels, masks = [item["category_id"] for item, _ in items], [mask for _, mask in items]
    return with_masks((record["height"], record["width"]), masks, [0.9] * len(items), labels)


def noisy(dataset, seed, classes=3, decimals=None):
    """Shifted and eroded masks, wrong classes, inventions, duplicates and empty masks, by image id."""
    rng = np.random.default_rng(seed)
    detections = {}
    for record in dataset:
        size = (record["height"], record["width"])
        masks, labels = [], []
        for item, mask in zip(record["annotations"], truth_masks(record), strict=True):
            for _ in range(rng.integers(0, 3)):
                shifted = np.roll(mask, rng.integers(-4, 5, 2), axis=(0, 1))
                masks.append(shifted & (rng.uniform(size=size) < rng.uniform(0.6, 1)))
                wrong = rng.uniform() < 0.15
                labels.append(int(rng.integers(classes)) if wrong else item["category_id"])
        for _ in range(rng.integers(0, 3)):
            masks.append(ellipse(rng, *size) & (rng.uniform() < 0.7))  # some are empty
            labels.append(int(rng.integers(classes)))
        scores = rng.uniform(0, 1, len(masks))
        scores = scores if decimals is None else scores.round(decimals)
        detections[record["image_id"]] = with_masks(size, masks, scores, labels)
    return detections


def as_run_lengths(instances):
    """The same detections with run lengths in place of bitmaps."""
    fields = dict(instances.get_fields())
    masks = encode_masks(fields.pop("pred_masks"))
    assert torch.equal(decode_masks(masks, *instances.image_size), instances.pred_masks)
    return Instances(instances.image_size, **fields, pred_masks_rle=masks)
