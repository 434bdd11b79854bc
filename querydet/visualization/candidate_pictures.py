"""Pictures of the candidates of an object, as in MS-DETR (arXiv 2401.03989), figure 7, with their quality by rank."""

import json
import os
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from querydet.evaluation.candidates import FILE, Candidates
from querydet.evaluation.per_image import ImageTruth
from querydet.evaluation.query_predictions import QueryRecord
from querydet.modeling.boxes import cxcywh_to_xyxy
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
    """For each object, a panel with its candidates, the best one brightest, and one with their IoU and score by rank.

    Args:
        image: (H, W, 3), RGB, uint8.
        record: the queries of the image.
        truth: its objects, without crowd regions.
        candidates: of the objects.
        names: class names by index.
        objects: which; none: all.
        layer: index of the decoder layer whose boxes are drawn.

    Raises:
        ValueError: there is no such object, or none at all.
    """
    if not len(truth):
        raise ValueError("this image has no annotated objects, so that nothing is a candidate: choose another image")
    unknown = [number for number in objects if not 0 <= number < len(truth)]
    if unknown:
        raise ValueError(f"there is no object {unknown[0]}: the image has 0 to {len(truth) - 1}")
    panels = []
    for number in objects or range(len(truth)):
        found = candidates.queries[number]
        boxes_xyxy = cxcywh_to_xyxy(record.boxes[layer][found].double()).numpy()
        name = f"object {number}, {names[int(truth.labels[number])]}"
        picture = draw_candidates(image, boxes_xyxy, truth.boxes_xyxy_abs[number].numpy())
        panels.append(Panel(picture, f"{name}: its {len(found)} best candidates"))
        curves = plot_quality(candidates.ious[number].numpy(), candidates.scores[number].numpy())
        means = f"mean IoU {candidates.ious[number].mean():.2f}, score {candidates.scores[number].mean():.2f}"
        panels.append(Panel(curves, means))
    return panels


def draw_candidates(image: np.ndarray, boxes_xyxy: np.ndarray, object_xyxy_abs: np.ndarray) -> np.ndarray:
    """Draws candidates (n, 4), normalised, best first, and their object (4,), in pixels, white."""
    visualizer = make_visualizer(image)
    size = np.array([image.shape[1], image.shape[0]] * 2)
    colors = layer_colors(len(boxes_xyxy))
    for box, color in zip(boxes_xyxy[::-1] * size, colors, strict=True):
        visualizer.draw_box(box, alpha=0.9, edge_color=color)
    visualizer.draw_box(object_xyxy_abs, alpha=1.0, edge_color=WHITE, line_style="--")
    return visualizer.output.get_image()


def plot_quality(ious: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """IoU and class score by rank (n,), as a picture (H, W, 3)."""
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
    """Writes one PNG that compares models: mean IoU and class score of the candidates of all objects by rank.

    Args:
        paths: ``candidates.json`` of each, as `querydet.evaluation.CandidateEvaluator` writes it, or its folder.
        path: the PNG file; its folder is made if needed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is of another kind, or none is given.
    """
    if not paths:
        raise ValueError("nothing to plot: give files that CandidateEvaluator(output_dir=...) wrote")
    figure = Figure(figsize=(9, 3.6), dpi=DPI, layout="tight")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True)
    for index, given in enumerate(paths):
        by_rank = read_ranks(given)
        ranks = np.arange(1, len(by_rank["IoU"]) + 1)
        label = os.path.basename(os.path.abspath(given).removesuffix(os.sep + FILE))
        for axes, name in ((left, "IoU"), (right, "score")):
            axes.plot(ranks, by_rank[name], marker=".", color=f"C{index}", label=label)
            axes.set_title(f"{name} of candidates, mean over objects", fontsize=10)
            axes.set_xlabel("rank of the candidate")
            axes.set_ylabel("%")
            axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    figure.savefig(path)


def read_ranks(path: str) -> dict[str, list[float]]:
    """The means by rank of a ``candidates.json``, in percent.

    Args:
        path: the file, or its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another kind.
    """
    name = os.path.join(path, FILE) if os.path.isdir(path) else path
    if not os.path.isfile(name):
        raise FileNotFoundError(f"there is no {name}: CandidateEvaluator(output_dir=...) writes it in an evaluation")
    with open(name, encoding="utf-8") as file:
        try:
            by_rank = json.load(file)["by_rank"]
            return {key: [float(value) for value in by_rank[key]] for key in ("IoU", "score")}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{name} is not a file of CandidateEvaluator: it has no means by rank") from error
