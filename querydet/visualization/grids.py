"""Several pictures on one page: ground truth beside predictions, and training batches as the model sees them."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data.detection_utils import convert_image_to_rgb, read_image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from querydet.data.catalog import DetectionDataset, class_names
from querydet.evaluation.predictor import keep_confident, run_model
from querydet.visualization.drawing import draw_instances, instances_of_record

CELL_INCHES = 3.6
DPI = 110


@dataclass(frozen=True, slots=True)
class Panel:
    """One cell of a grid.

    Args:
        image: (H, W, 3), RGB, uint8.
        title: the line above it.
    """

    image: np.ndarray
    title: str


def save_grid(panels: Sequence[Panel], path: str, columns: int = 4) -> None:
    """Writes panels as one PNG, row by row.

    Args:
        panels: what to show, of any sizes.
        path: the file; its folder is made if needed.
        columns: panels of a row.

    Raises:
        ValueError: there are no panels.
    """
    if not panels:
        raise ValueError("a grid needs at least one panel")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    aspect = max(panel.image.shape[0] / panel.image.shape[1] for panel in panels)
    figure = Figure(figsize=(columns * CELL_INCHES, rows * (CELL_INCHES * aspect + 0.3)), dpi=DPI, layout="tight")
    FigureCanvasAgg(figure)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(panel.image)
        axes.set_title(panel.title, fontsize=9)
        axes.set_axis_off()
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    figure.savefig(path)


def draw_predictions(
    model: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    dataset: DetectionDataset,
    mapper: Callable[[dict[str, Any]], dict[str, Any] | None],
    path: str,
    *,
    num_images: int = 8,
    threshold: float = 0.3,
) -> None:
    """Writes a PNG with ground truth (left) beside predictions (right) for images spread over a data set.

    Args:
        model: a Detectron2 model; put into evaluation mode while drawing.
        dataset: where the images and the ground truth come from.
        mapper: the test mapper; images that it leaves out are left out here.
        path: the PNG file.
        num_images: how many images.
        threshold: smallest score in [0, 1] that is drawn.

    Raises:
        ValueError: no image could be drawn.
    """
    names = class_names(dataset)
    count = min(num_images, len(dataset))
    panels = []
    for index in range(count):
        record = dataset[index * len(dataset) // count]
        sample = mapper(record)
        if sample is None:
            continue
        predicted = keep_confident(run_model(model, [sample])[0]["instances"], threshold)
        image = read_image(record["file_name"], format="RGB")
        truth = instances_of_record(record)
        title = os.path.basename(record["file_name"])
        panels.append(Panel(draw_instances(image, truth, names), f"{title}: {len(truth)} annotated"))
        shown = f"{len(predicted)} predicted, score ≥ {threshold:g}"
        panels.append(Panel(draw_instances(image, predicted, names), shown))
    save_grid(panels, path, columns=4)


def draw_batch(samples: Sequence[dict[str, Any]], names: Sequence[str], path: str, image_format: str = "RGB") -> None:
    """Writes training samples after augmentation, with their boxes, as one PNG.

    Args:
        samples: what the training loader yields: ``image`` (3, H, W), ``instances`` with ``gt_boxes, gt_classes``.
        names: class names by index.
        path: the PNG file.
        image_format: the channel order that the mapper was told to use.
    """
    panels = []
    for sample in samples:
        image = convert_image_to_rgb(sample["image"].permute(1, 2, 0), image_format)
        height, width = image.shape[:2]
        title = f"image {sample.get('image_id', '?')}: {width}x{height}, {len(sample['instances'])} objects"
        panels.append(Panel(draw_instances(image, sample["instances"], names), title))
    save_grid(panels, path)
