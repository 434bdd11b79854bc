"""Grids of pictures: ground truth beside predictions, and training batches after augmentation."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data.detection_utils import convert_image_to_rgb
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from querydet.data.catalog import DetectionDataset, class_names
from querydet.data.media import read_record
from querydet.evaluation.prediction import keep_confident, run_model
from querydet.utils.progress import ProgressBar
from querydet.visualization.drawing import draw_instances, instances_of_record
from querydet.visualization.titles import picture_titles

CELL_INCHES = 3.6
DPI = 110
ENTRY_INCHES, LETTER_INCHES = 0.6, 0.09  # width of a legend entry without text, and per letter
PROGRESS_FROM = 3  # minimum number of images for a progress bar


@dataclass(frozen=True, slots=True)
class Panel:
    """One cell of a grid.

    Args:
        image: (H, W, 3), RGB, uint8.
        title: text above the image.
    """

    image: np.ndarray
    title: str


def save_grid(panels: Sequence[Panel], path: str, columns: int = 4, legend: Mapping[str, Any] | None = None) -> None:
    """Write panels as one PNG, row by row.

    Args:
        panels: panels of any sizes.
        path: the PNG file; its folder is created if needed.
        columns: number of panels in a row.
        legend: colours by label, as Matplotlib accepts them, shown below the panels.

    Raises:
        ValueError: there are no panels.
    """
    figure = _make_figure(panels, columns, legend)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    figure.savefig(path)


def render_grid(panels: Sequence[Panel], columns: int = 4, legend: Mapping[str, Any] | None = None) -> np.ndarray:
    """Render the page of `save_grid` as pixels (H, W, 3), RGB, uint8; see there for arguments and errors."""
    return render(_make_figure(panels, columns, legend))


def render(figure: Figure) -> np.ndarray:
    """Render a figure as pixels (H, W, 3), RGB, uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _make_figure(panels: Sequence[Panel], columns: int, legend: Mapping[str, Any] | None) -> Figure:
    if not panels:
        raise ValueError("a grid needs at least one panel")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    aspect = max(panel.image.shape[0] / panel.image.shape[1] for panel in panels)
    lines = max(panel.title.count("\n") + 1 for panel in panels)
    width, entries = columns * CELL_INCHES, dict(legend or {})
    beside = max(1, int(width / max((ENTRY_INCHES + LETTER_INCHES * len(label) for label in entries), default=1)))
    below = 0.2 + 0.2 * math.ceil(len(entries) / beside) if entries else 0.0
    height = rows * (CELL_INCHES * aspect + 0.1 + 0.25 * lines) + below
    figure = Figure(figsize=(width, height), dpi=DPI, layout="tight")
    FigureCanvasAgg(figure)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(panel.image)
        axes.set_title(panel.title, fontsize=9)
        axes.set_axis_off()
    if entries:
        figure.set_layout_engine("tight", rect=(0, below / height, 1, 1))
        handles = [Patch(facecolor=color, edgecolor="grey", label=label) for label, color in entries.items()]
        figure.legend(handles=handles, loc="lower center", ncols=beside, fontsize=8, frameon=False)
    return figure


def draw_predictions(
    model: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    dataset: DetectionDataset,
    mapper: Callable[[dict[str, Any]], dict[str, Any] | None],
    path: str,
    *,
    num_images: int = 8,
    threshold: float = 0.3,
) -> None:
    """Write a PNG with ground truth (left) beside predictions (right) for images spread over a data set.

    Args:
        model: a Detectron2 model; put into evaluation mode while drawing.
        dataset: images and ground truth.
        mapper: the test mapper; images that it skips are left out.
        path: the PNG file.
        num_images: number of images.
        threshold: detections with a lower score, in [0, 1], are not drawn.

    Raises:
        ValueError: no image could be drawn.
    """
    records = spread(dataset, num_images)
    save_grid(prediction_panels(model, records, class_names(dataset), mapper, threshold, progress=True), path)


def spread(dataset: DetectionDataset, count: int) -> list[dict[str, Any]]:
    """Select `count` records, or all if there are fewer, spread evenly over a data set."""
    count = min(count, len(dataset))
    return [dataset[index * len(dataset) // count] for index in range(count)]


def prediction_panels(
    model: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    records: Sequence[dict[str, Any]],
    names: Sequence[str],
    mapper: Callable[[dict[str, Any]], dict[str, Any] | None],
    threshold: float,
    progress: bool = False,
) -> list[Panel]:
    """Draw two panels of every record, ground truth and predictions; see `draw_predictions`."""
    panels = []
    shown_records = ProgressBar(
        records, desc="images", disable=not progress or len(records) < PROGRESS_FROM, leave=False
    )
    for title, record in zip(picture_titles(records), shown_records, strict=True):
        sample = mapper(record)
        if sample is None:
            continue
        predicted = keep_confident(run_model(model, [sample])[0]["instances"], threshold)
        image = read_record(record, mapper)
        truth = instances_of_record(record)
        panels.append(Panel(draw_instances(image, truth, names), f"{title}: {len(truth)} annotated"))
        shown = f"{len(predicted)} predicted, score ≥ {threshold:g}"
        panels.append(Panel(draw_instances(image, predicted, names), shown))
    return panels


def draw_batch(samples: Sequence[dict[str, Any]], names: Sequence[str], path: str, image_format: str = "RGB") -> None:
    """Write training samples after augmentation, with their boxes, as one PNG.

    Args:
        samples: from the training loader: `image` (3, H, W), `instances` with `gt_boxes, gt_classes`.
        names: class names by index.
        path: the PNG file.
        image_format: channel order of `image`, that of the mapper.
    """
    save_grid(batch_panels(samples, names, image_format), path)


def batch_panels(samples: Sequence[dict[str, Any]], names: Sequence[str], image_format: str = "RGB") -> list[Panel]:
    """Draw a panel of every training sample; see `draw_batch`."""
    panels = []
    for sample in samples:
        image = sample_image(sample, image_format)
        height, width = image.shape[:2]
        title = f"image {sample.get('image_id', '?')}: {width}x{height}, {len(sample['instances'])} objects"
        panels.append(Panel(draw_instances(image, sample["instances"], names), title))
    return panels


def sample_image(sample: dict[str, Any], image_format: str = "RGB") -> np.ndarray:
    """Convert the image of a model's input (3, H, W) to (H, W, 3), RGB, uint8."""
    return np.ascontiguousarray(convert_image_to_rgb(sample["image"].cpu().permute(1, 2, 0), image_format))
