"""Figures of an error analysis: costs, precision over recall, confusions, and the worst images with their errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.data.detection_utils import check_image_size
from detectron2.utils.visualizer import Visualizer
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from querydet.data.catalog import DetectionDataset, class_names
from querydet.data.media import read_record
from querydet.evaluation.coco_truth import annotation_masks
from querydet.evaluation.error_analysis import Settings, shown_errors
from querydet.evaluation.errors import ERRORS, SIZES, ImageErrors, Kind, Objects
from querydet.evaluation.per_image import image_truth
from querydet.utils.run_lengths import RunLengths
from querydet.visualization.cropped_masks import decoded_crops
from querydet.visualization.drawing import FONT_SCALE, annotated_masks, drawing_scale, on_image
from querydet.visualization.figures import new_figure
from querydet.visualization.grids import Panel
from querydet.visualization.mask_painting import paint_masks
from querydet.visualization.titles import picture_titles

MOST_CLASSES = 25  # maximum number of readable rows of a figure
MOST_CURVES = 10
COLORS = {
    "classification": "#e377c2",
    "localisation": "#ff7f0e",
    "both": "#9467bd",
    "duplicate": "#bcbd22",
    "background": "#d62728",
    "missed": "#17becf",
    "right": "#2ca02c",
    "ignored": "#7f7f7f",
}


def draw_costs(analysis: Mapping[str, Any]) -> Figure:
    """Draw the cost and the number of each kind of error by size, and the costs by class."""
    classes = {name: values for name, values in analysis["classes"].items() if values["objects"]}
    shown = sorted(classes, key=lambda name: -classes[name]["objects"])[:MOST_CLASSES]
    figure = new_figure(15, max(4.2, 1.8 + 0.26 * len(shown)))
    gains, counts, table = figure.subplots(1, 3)
    positions, width = np.arange(len(ERRORS)), 0.8 / len(SIZES)
    for index, (name, size) in enumerate(analysis["sizes"].items()):
        label = f"{name} (AP {size['AP']:.1f})" if size["AP"] >= 0 else f"{name} (no objects)"
        color = "black" if name == "all" else f"C{index - 1}"
        for axes, values in ((gains, size["gain"]), (counts, size["counts"])):
            bars = [max(0, values[error]) for error in ERRORS]
            axes.bar(positions + (index - 1.5) * width, bars, width, label=label, color=color)
    threshold = analysis["settings"]["positive"]
    for axes, title, unit in (
        (gains, "cost of the errors", f"gain in AP at IoU {threshold:g} without them, in %"),
        (counts, "errors", "detections, missed objects"),
    ):
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.set_xticks(positions, ERRORS, rotation=35, ha="right")
        axes.grid(axis="y", alpha=0.3)
    gains.legend(fontsize=8)
    values = [[classes[name]["gain"][error] for error in ERRORS] for name in shown]
    _table(table, np.array(values).reshape(-1, len(ERRORS)), shown, ERRORS)
    more = f", the {len(shown)} most frequent of {len(classes)}" if len(shown) < len(classes) else ""
    table.set_title(f"gain in AP by class{more}")
    return figure


def draw_precision(analysis: Mapping[str, Any]) -> Figure:
    """Draw precision over recall: the mean over classes at several IoU thresholds, and single classes at IoU 0.5."""
    figure = new_figure(11, 4.2)
    mean, single = figure.subplots(1, 2)
    curves = analysis["curves"]
    for name, values in curves["iou"].items():
        if values:
            mean.plot(curves["recall"], values, label=f"IoU {name} (AP {100 * float(np.mean(values)):.1f})")
    classes = curves["classes"]
    ranked = sorted(classes, key=lambda name: float(np.mean(classes[name])))
    shown = ranked if len(ranked) <= MOST_CURVES else [*ranked[: MOST_CURVES // 2], *ranked[-MOST_CURVES // 2 :]]
    for name in shown:
        single.plot(curves["recall"], classes[name], label=f"{name} ({100 * float(np.mean(classes[name])):.1f})")
    mean.set_title("mean over the classes")
    single.set_title("classes at IoU 0.50" + (": worst and best" if len(shown) < len(ranked) else ""))
    for axes in (mean, single):
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
        else:
            axes.text(0.5, 0.5, "no objects", ha="center")
    return figure


def draw_confusion(analysis: Mapping[str, Any]) -> Figure:
    """Draw the confusion matrix, coloured by fractions of each row; of many classes, those with the most errors."""
    labels, matrix = analysis["confusion"]["labels"], np.array(analysis["confusion"]["matrix"])
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    order = np.argsort(-wrong[:-1], kind="stable")[:MOST_CLASSES]
    keep = np.append(np.sort(order), len(labels) - 1)
    parts = (matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))[np.ix_(keep, keep)]
    matrix, labels = matrix[np.ix_(keep, keep)], [labels[index] for index in keep]
    side = max(4.5, 2.2 + 0.42 * len(labels))
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    _table(axes, parts, labels, [*labels[:-1], "missed"], matrix, heading="detected as")
    axes.set_ylabel("object")
    more = f", the {len(order)} classes with the most errors" if len(keep) < len(wrong) else ""
    axes.set_title(f"confusions from score {analysis['settings']['min_score']:g} on{more}", fontsize=10)
    return figure


def draw_worst(
    analysis: Mapping[str, Any],
    dataset: DetectionDataset,
    rows: Mapping[Any, np.ndarray],
    settings: Settings,
    mapper: Any = None,
    masks: Mapping[Any, Sequence[RunLengths]] | None = None,
) -> list[Panel]:
    """Draw the worst images: ground truth with missed objects marked, beside the detections coloured by error.

    Objects are drawn with the masks that the data set has, detections with those that were analysed.

    Args:
        analysis: of the detections.
        dataset: the test data.
        rows: detections by image id.
        settings: of the analysis.
        mapper: the test mapper, or its node in the config, which says how image files are read.
        masks: of the detections by image id, if they were analysed.

    Raises:
        FileNotFoundError: an image file is missing.
        detectron2.data.detection_utils.SizeMismatchError: an image has another size than recorded.
    """
    records, names = {record["image_id"]: record for record in dataset}, class_names(dataset)
    panels = []
    chosen = [records[entry["image_id"]] for entry in analysis["worst"]]
    for entry, record, title in zip(analysis["worst"], chosen, picture_titles(chosen), strict=True):
        image = read_record(record, mapper)
        check_image_size(dict(record), image)
        objects = Objects.of(image_truth(record), None if masks is None else annotation_masks(record))
        detected_masks = None if masks is None else masks.get(entry["image_id"], ())
        detections = rows.get(entry["image_id"], np.zeros((0, 6)))
        errors = shown_errors(detections, objects, settings, detected_masks)
        kinds = [f"{count} {error}" for error, count in entry["counts"].items() if count]
        summary = f"{entry['right']} right, " + (", ".join(kinds[-1:]) or "no errors")
        lines = "\n".join(filter(None, [summary, ", ".join(kinds[:-1])]))
        outlines = annotated_masks(record, record.get("annotations", ()))
        truth = _draw_objects(image, objects, outlines, errors, names)
        panels.append(Panel(truth, f"{title}: {entry['objects']} objects"))
        panels.append(Panel(_draw_detections(image, errors, names), lines))
    return panels


def _draw_objects(
    image: np.ndarray,
    objects: Objects,
    masks: Sequence[RunLengths | None],
    errors: ImageErrors,
    names: Sequence[str],
) -> np.ndarray:
    kinds = ["ignored" if crowd else "right" for crowd in objects.crowd]
    kinds = ["missed" if missed else kind for kind, missed in zip(kinds, errors.missed, strict=True)]
    words = {"right": "", "missed": " missed", "ignored": " crowd"}
    labels = [names[label] + words[kind] for label, kind in zip(objects.labels, kinds, strict=True)]
    colors = [to_rgb(COLORS[kind]) for kind in kinds]
    return _draw(paint_masks(image, decoded_crops(masks), colors), objects.boxes, labels, kinds)


def _draw_detections(image: np.ndarray, errors: ImageErrors, names: Sequence[str]) -> np.ndarray:
    kinds = [Kind(kind).name.lower() for kind in errors.kinds]
    labels = [
        f"{names[int(row[5])]} {row[4]:.0%}" + ("" if kind == "right" else f" {kind}")
        for row, kind in zip(errors.rows, kinds, strict=True)
    ]
    colors = [to_rgb(COLORS[kind]) for kind in kinds]
    painted = paint_masks(image, decoded_crops(errors.masks), colors) if errors.masks else image
    return _draw(painted, errors.rows[:, :4], labels, kinds)


def _draw(image: np.ndarray, boxes_xywh: np.ndarray, labels: list[str], kinds: list[str]) -> np.ndarray:
    visualizer = Visualizer(image, scale=drawing_scale(image), font_size_scale=FONT_SCALE)
    if len(labels):
        corners = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
        colors = [COLORS[kind] for kind in kinds]
        visualizer.overlay_instances(boxes=on_image(corners, image), labels=labels, assigned_colors=colors, alpha=1.0)
    return visualizer.output.get_image()


def _table(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    numbers: np.ndarray | None = None,
    heading: str = "",
) -> None:
    """Draw a coloured table that shows `numbers`, or `values` if they are None."""
    limit = max(float(values.max(initial=0)), 1e-9)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.1f}" if numbers is None else f"{numbers[row, column] or ''}"
        color = "white" if value > 0.6 * limit else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xlabel(heading)
