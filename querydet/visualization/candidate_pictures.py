"""Candidates of an object, as in MS-DETR (arXiv 2401.03989), figure 7, and their quality by rank."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from querydet.evaluation.candidates import FILE, Candidates
from querydet.evaluation.per_image import ImageTruth
from querydet.evaluation.query_predictions import QueryRecord
from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.utils.plain_json import parse_json
from querydet.visualization.drawing import make_visualizer
from querydet.visualization.grids import CELL_INCHES, DPI, Panel, render
from querydet.visualization.query_pictures import layer_colors

WHITE = (1.0, 1.0, 1.0)


def candidate_panels(
    image: np.ndarray,
    record: QueryRecord,
    truth: ImageTruth,
    candidates: Candidates,
    names: Sequence[str],
    *,
    objects: Sequence[int] = (),
    layer: int = -1,
) -> list[Panel]:
    """Draw two panels for each object: its candidates, the best one brightest, and their IoU and score by rank.

    Args:
        image: (H, W, 3), RGB, uint8.
        record: the queries of the image.
        truth: its objects, without crowd regions.
        candidates: candidates of all objects.
        names: class names by index.
        objects: indices of the objects to draw; empty: all.
        layer: index of the decoder layer whose boxes are drawn.

    Raises:
        ValueError: the image has no objects, or not those asked for.
    """
    if not len(truth):
        raise ValueError("this image has no annotated objects, so that nothing is a candidate: choose another image")
    unknown = [index for index in objects if not 0 <= index < len(truth)]
    if unknown:
        raise ValueError(f"there is no object {unknown[0]}: the image has 0 to {len(truth) - 1}")
    panels = []
    for index in objects or range(len(truth)):
        queries = candidates.queries[index]
        boxes_xyxy = cxcywh_to_xyxy(record.boxes[layer][queries].double()).numpy()
        name = f"object {index}, {names[int(truth.labels[index])]}"
        picture = draw_candidates(image, boxes_xyxy, truth.boxes_xyxy_abs[index].numpy())
        panels.append(Panel(picture, f"{name}: its {len(queries)} best candidates"))
        curves = plot_quality(candidates.ious[index].numpy(), candidates.scores[index].numpy())
        means = f"mean IoU {candidates.ious[index].mean():.2f}, score {candidates.scores[index].mean():.2f}"
        panels.append(Panel(curves, means))
    return panels


def draw_candidates(image: np.ndarray, boxes_xyxy: np.ndarray, object_xyxy_abs: np.ndarray) -> np.ndarray:
    """Draw candidates (n, 4), normalised, best first, and their object (4,), in pixels, in white."""
    visualizer = make_visualizer(image)
    size = np.array([image.shape[1], image.shape[0]] * 2)
    colors = layer_colors(len(boxes_xyxy))
    for box, color in zip(boxes_xyxy[::-1] * size, colors, strict=True):
        visualizer.draw_box(box, alpha=0.9, edge_color=color)
    visualizer.draw_box(object_xyxy_abs, alpha=1.0, edge_color=WHITE, line_style="--")
    return visualizer.output.get_image()


def plot_quality(ious: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Plot IoU and class score by rank (n,) as a picture (H, W, 3)."""
    figure = Figure(figsize=(CELL_INCHES * 1.2, CELL_INCHES * 0.9), dpi=DPI, layout="tight")
    axes = figure.subplots()
    ranks = np.arange(1, len(ious) + 1)
    axes.plot(ranks, ious, marker=".", label="IoU")
    axes.plot(ranks, scores, marker=".", label="score of its class")
    axes.set_ylim(0, 1)
    axes.set_xlabel("rank of the candidate")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return render(figure)


def plot_ranks(paths: Sequence[str], path: str) -> None:
    """Write a PNG that compares models: mean IoU and class score of the candidates of all objects by rank.

    Args:
        paths: for each model, the `candidates.json` of `evaluation.CandidateEvaluator`, or its folder.
        path: the PNG file; its folder is created if needed.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file has another format, or none is source.
    """
    if not paths:
        raise ValueError("nothing to plot: give files that CandidateEvaluator(output_dir=...) wrote")
    figure = Figure(figsize=(9, 3.6), dpi=DPI, layout="tight")
    FigureCanvasAgg(figure)
    iou_axes, score_axes = figure.subplots(1, 2, sharex=True)
    for index, source in enumerate(paths):
        by_rank = read_ranks(source)
        ranks = np.arange(1, len(by_rank["IoU"]) + 1)
        label = os.path.basename(os.path.abspath(source).removesuffix(os.sep + FILE))
        for axes, name in ((iou_axes, "IoU"), (score_axes, "score")):
            axes.plot(ranks, by_rank[name], marker=".", color=f"C{index}", label=label)
            axes.set_title(f"{name} of candidates, mean over objects", fontsize=10)
            axes.set_xlabel("rank of the candidate")
            axes.set_ylabel("%")
            axes.grid(alpha=0.3)
    iou_axes.legend(fontsize=8)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    figure.savefig(path)


def read_ranks(path: str) -> dict[str, list[float]]:
    """Read the means by rank of a `candidates.json`, in percent.

    Args:
        path: the file, or its folder.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has another format.
    """
    name = os.path.join(path, FILE) if os.path.isdir(path) else path
    if not os.path.isfile(name):
        raise FileNotFoundError(f"there is no {name}: CandidateEvaluator(output_dir=...) writes it in an evaluation")
    with open(name, encoding="utf-8") as file:
        try:
            by_rank = parse_json(file.read())["by_rank"]
            return {key: [float(value) for value in by_rank[key]] for key in ("IoU", "score")}
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{name} is not a file of CandidateEvaluator: it has no means by rank") from error
