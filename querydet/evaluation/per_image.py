"""Base class of the evaluators: one measurement per image, gathered over all processes, and validation of detections.

The evaluators are Detectron2's `DatasetEvaluator`: `dataloader.evaluator` may be one or a list of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from torch import Tensor

from querydet.data.catalog import DetectionDataset, class_names, need_annotations
from querydet.utils.instance_masks import select, without_masks

SMALL, MEDIUM = 32**2, 96**2  # square pixels, COCO: upper bounds of small and medium


@dataclass(frozen=True, slots=True)
class ImageTruth:
    """The annotations of one image, in their order."""

    boxes_xyxy_abs: Tensor  # (T, 4) float64
    labels: Tensor  # (T,) int64
    areas: Tensor  # (T,) float64, the annotations' areas in square pixels (COCO: of the mask)
    crowd: Tensor  # (T,) bool
    size: tuple[int, int]  # (height, width)

    def __len__(self) -> int:
        return len(self.labels)

    def objects(self) -> "ImageTruth":
        """Return the annotations without crowd regions."""
        keep = ~self.crowd
        return ImageTruth(
            self.boxes_xyxy_abs[keep], self.labels[keep], self.areas[keep], self.crowd[keep], size=self.size
        )

    def normalised_xyxy(self) -> Tensor:
        """Return the boxes (T, 4) as fractions of the image's width and height."""
        height, width = self.size
        return self.boxes_xyxy_abs / torch.tensor([width, height, width, height], dtype=torch.float64)


def image_truth(record: Mapping[str, Any]) -> ImageTruth:
    """Read the annotations of a Detectron2 dataset dict."""
    items = record.get("annotations", ())
    boxes = [BoxMode.convert(list(item["bbox"]), item["bbox_mode"], BoxMode.XYXY_ABS) for item in items]
    corners = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    areas = torch.tensor([item.get("area", -1.0) for item in items], dtype=torch.float64)
    return ImageTruth(
        boxes_xyxy_abs=corners,
        labels=torch.tensor([item["category_id"] for item in items], dtype=torch.int64),
        areas=torch.where(areas < 0, (corners[:, 2:] - corners[:, :2]).prod(1), areas),
        crowd=torch.tensor([bool(item.get("iscrowd", 0)) for item in items], dtype=torch.bool),
        size=(record["height"], record["width"]),
    )


def size_groups(areas: Tensor) -> dict[str, Tensor]:
    """Return masks of areas (T,) by size, under the suffixes of COCO's metrics: "" (all), "s", "m" and "l"."""
    small, large = areas < SMALL, areas >= MEDIUM
    return {"": torch.ones_like(small), "s": small, "m": ~small & ~large, "l": large}


class PerImageEvaluator(DatasetEvaluator):
    """Measures every image separately, gathers the measurements, and computes the results from them on rank 0.

    An image that is processed twice, as by a sampler that gives all processes equally many, counts once. Images that
    were not processed count as images without detections, if the metric includes such images.

    Args:
        dataset: the loaded data set (`data.load_coco`), which is the ground truth.
        distributed: gather the measurements of all processes; False evaluates those of this process only.

    Raises:
        ValueError: the data set has no images, no class names, or no annotations where these are needed.
    """

    needs_annotations = True  # whether images alone cannot be evaluated
    uses_queries = False  # whether outputs need `"queries"`, see `evaluation.query_predictions`

    def __init__(self, *, dataset: DetectionDataset, distributed: bool = True) -> None:
        if not len(dataset):
            raise ValueError("cannot evaluate on a data set without images")
        if self.needs_annotations:
            need_annotations(dataset, type(self).__name__)
        self._class_names = class_names(dataset)
        self._dataset_name = dataset.name
        self._records = {record["image_id"]: record for record in dataset}
        self._distributed = distributed
        self._found: dict[Any, Any] = {}

    def reset(self) -> None:
        """Clear the measurements."""
        self._found = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Measure a batch of images.

        Args:
            inputs: the model's inputs; `image_id` is used.
            outputs: the model's outputs for each image.

        Raises:
            ValueError: an image is not in the data set, or an output does not fit it.
        """
        for image_inputs, output in zip(inputs, outputs, strict=True):
            image_id = image_inputs["image_id"]
            if image_id not in self._records:
                raise ValueError(f"image id {image_id} is not in data set '{self._dataset_name}' being evaluated")
            self._found[image_id] = self.measure(self._records[image_id], output)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the results over all processes; `{}` on ranks other than 0."""
        measurements = self.gather()
        return {} if measurements is None else self.summarise(measurements)

    def gather(self) -> dict[Any, Any] | None:
        """Gather the measurements of all processes by image id, in the data set's order; None on ranks other than 0."""
        shares = [self._found]
        if self._distributed:
            comm.synchronize()
            shares = comm.gather(self._found, dst=0)
            if not comm.is_main_process():
                return None
        merged = {image_id: value for share in shares for image_id, value in share.items()}
        return {image_id: merged[image_id] for image_id in self._records if image_id in merged}

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> Any:
        """Return the measurement of one image; it is sent to another process, so it should be small and on the CPU.

        Args:
            record: the dataset dict of the image.
            output: the model's output for it.
        """
        raise NotImplementedError

    def summarise(self, measurements: dict[Any, Any]) -> dict[str, dict[str, float]]:
        """Compute the results from the measurements by image id."""
        raise NotImplementedError

    def detections(self, record: dict[str, Any], output: dict[str, Any]) -> tuple[Instances, int]:
        """Return the finite detections of an image, validated, on the CPU, and the number of non-finite ones.

        Masks are left out: bitmaps of a crowded image are large.
        """
        instances, dropped = drop_nonfinite(without_masks(output["instances"]).to(torch.device("cpu")))
        check_detections(instances, record, len(self._class_names))
        return instances, dropped


def drop_nonfinite(instances: Instances) -> tuple[Instances, int]:
    """Return the detections whose boxes and scores are finite, and the number of the others."""
    finite = finite_detections(instances)
    return select(instances, finite), int((~finite).sum())


def finite_detections(instances: Instances) -> Tensor:
    """Return a mask (n,) of the detections whose boxes and scores are finite."""
    return instances.pred_boxes.tensor.isfinite().all(dim=1) & instances.scores.isfinite()


def check_detections(instances: Instances, record: Mapping[str, Any], num_classes: int) -> None:
    """Validate the detections of one image.

    Args:
        instances: `pred_boxes`, `scores` and `pred_classes`, finite.
        record: the image's dataset dict.
        num_classes: number of classes of the data set.

    Raises:
        ValueError: the detections are for an image of another size than recorded, a class does not exist in the data
            set, or a score is outside of [0, 1].
    """
    name, size = f"image {record['image_id']}", (record["height"], record["width"])
    if tuple(instances.image_size) != size:
        raise ValueError(
            f"{name}: the detections are for an image of {instances.image_size[0]}x{instances.image_size[1]} pixels "
            f"(height x width), but the data set records {size[0]}x{size[1]}: give the model 'height' and 'width' "
            "of the file"
        )
    classes = instances.pred_classes
    unknown = classes[(classes < 0) | (classes >= num_classes)]
    if len(unknown):
        raise ValueError(
            f"{name}: predicted class {int(unknown[0])}, but the data set has {num_classes} classes: "
            f"set model.num_classes={num_classes}"
        )
    outside = instances.scores[(instances.scores < 0) | (instances.scores > 1)]
    if len(outside):
        raise ValueError(
            f"{name}: a detection has score {float(outside[0]):.6g}, outside [0, 1]: scores are probabilities; apply a "
            "sigmoid to logits"
        )


def mean_or_missing(values: Tensor) -> float:
    """Return the mean; -1 without values, as in COCO."""
    return float(values.double().mean()) if values.numel() else -1.0
