"""Pictures of the queries of one image: their references from layer to layer, and their sampling points.

Boxes and points are drawn through Detectron2's `Visualizer`. All functions take images (H, W, 3), RGB, uint8.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from detectron2.utils.visualizer import Visualizer
from torch import Tensor, nn

from querydet.data.media import read_record
from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.visualization.drawing import instances_of_record, make_visualizer
from querydet.visualization.grids import Panel
from querydet.visualization.inspection import Inspection, check_heads, inspect_image

WHITE = (1.0, 1.0, 1.0)
SMALLEST_POINT, LARGEST_POINT = 0.004, 0.018  # radii of sampling points, fractions of the image's shorter side

LEAST_WINDOW = 64  # smallest side of a zoomed region, pixels

Color = tuple[float, ...]


def layer_colors(count: int) -> list[Color]:
    """Return `count` colours from dark to bright."""
    colors = matplotlib.colormaps["plasma"](np.linspace(0.1, 0.95, count))
    return [tuple(color[:3]) for color in colors.tolist()]


def level_colors(count: int) -> list[Color]:
    """Return distinct colours for `count` feature levels."""
    return [tuple(matplotlib.colormaps["tab10"](level % 10)[:3]) for level in range(count)]


def reference_steps(inspection: Inspection, query: int) -> tuple[Tensor, list[str]]:
    """Collect the positions of a query: the reference of every layer, and the last prediction.

    A decoder without box refinement keeps its references fixed: then the steps are the first reference and the
    prediction of every layer.

    Returns:
        (layers + 1, 4) boxes, where points have zero size, and the names of the steps.
    """
    layer_references = [references[query] for references in inspection.references]
    references = torch.stack([torch.cat([box, torch.zeros(4 - len(box))]) for box in layer_references])
    first, *others = inspection.references
    fixed = bool(others) and all(torch.equal(first, other) for other in others)
    predictions = inspection.boxes[:, query]
    count = inspection.num_layers
    if fixed:
        return torch.cat([references[:1], predictions]), ["start", *(f"layer {i + 1}" for i in range(count))]
    names = [f"into layer {i + 1}" for i in range(count)]
    return torch.cat([references, predictions[-1:]]), [*names, "prediction"]


def draw_references(image: np.ndarray, inspection: Inspection, query: int, objects_xyxy_abs: Any = None) -> np.ndarray:
    """Draw the boxes of a query from layer to layer, dark to bright, and the path of their centre.

    Args:
        image: the image.
        inspection: of the image.
        query: index of the query.
        objects_xyxy_abs: (T, 4) annotated boxes in pixels, drawn white and dotted; None: none.

    Returns:
        The picture, enlarged if the image is small.

    Raises:
        ValueError: there is no such query.
    """
    steps, _ = reference_steps(inspection, inspection.check_query(query))
    visualizer = make_visualizer(image)
    for box in [] if objects_xyxy_abs is None else np.asarray(objects_xyxy_abs):
        visualizer.draw_box(box, alpha=0.9, edge_color=WHITE, line_style=":")
    scaled = steps.numpy() * np.array([image.shape[1], image.shape[0]] * 2)
    radius = SMALLEST_POINT * 2 * min(image.shape[:2])
    visualizer.draw_line(scaled[:, 0], scaled[:, 1], color=WHITE, linewidth=1)
    for box, color in zip(scaled, layer_colors(len(scaled)), strict=True):
        if box[2:].max() > 0:
            visualizer.draw_box(_corners(box), alpha=1.0, edge_color=color)
        visualizer.draw_circle(box[:2], color, radius=radius)
    return _finish(visualizer)


def reference_panels(
    model: nn.Module,
    record: dict[str, Any],
    mapper: Callable[[dict[str, Any]], dict[str, Any] | None],
    names: Sequence[str],
    count: int = 4,
) -> tuple[list[Panel], dict[str, Color]]:
    """Draw panels of the best queries of an image of a data set, and return the legend of their colours.

    Args:
        model: a detector of this project.
        record: dataset dict of the image.
        mapper: the test mapper.
        names: class names by index.
        count: number of queries.

    Returns:
        The panels and the colours by step; both are empty if the mapper skips the image.
    """
    sample = mapper(record)
    if sample is None:
        return [], {}
    inspection = inspect_image(model, sample)
    image, objects = read_record(record, mapper), instances_of_record(record).gt_boxes.tensor
    panels = [
        Panel(draw_references(image, inspection, query, objects.numpy()), describe(inspection, query, names))
        for query in inspection.best_queries(count)
    ]
    return panels, reference_legend(inspection)


def describe(inspection: Inspection, query: int, names: Sequence[str]) -> str:
    """Describe a query by its index, its best class and its score."""
    label, score = inspection.label(inspection.check_query(query))
    return f"query {query}, {names[label]} {score:.0%}"


def reference_legend(inspection: Inspection) -> dict[str, Color]:
    """Return the colours of `draw_references` by step."""
    steps = reference_steps(inspection, 0)[1]
    return dict(zip(steps, layer_colors(len(steps)), strict=True))


def draw_sampling(
    image: np.ndarray,
    inspection: Inspection,
    query: int,
    layer: int,
    heads: Sequence[int] = (),
    zoom: float | None = None,
) -> np.ndarray:
    """Draw the points that a query samples in a decoder layer: one colour per level, larger for larger weights.

    Args:
        image: the image.
        inspection: of the image.
        query: index of the query.
        layer: index of the decoder layer, from 0.
        heads: indices of the attention heads; empty: all.
        zoom: size of the region around the reference that is shown, in sizes of the reference; None: the whole image.

    Returns:
        The picture, enlarged if the image is small, with the reference of the layer in white.

    Raises:
        ValueError: there is no such query or head, the model has no deformable attention, or zoom is not positive.
    """
    points = inspection.sampled(layer)
    query, heads = inspection.check_query(query), check_heads(points, heads)
    size = np.array([image.shape[1], image.shape[0]])
    reference = inspection.references[layer][query].numpy()
    reference = reference * np.tile(size, len(reference) // 2)
    corner, image = _crop(image, reference, zoom)
    reference[:2] -= corner
    locations = points.locations[query, heads].numpy() * size - corner
    weights = points.weights[query, heads].numpy()
    colors = level_colors(locations.shape[1])
    visualizer = make_visualizer(image)
    side = min(image.shape[:2])
    if len(reference) == 4:
        visualizer.draw_box(_corners(reference), alpha=1.0, edge_color=WHITE)
    visualizer.draw_circle(reference[:2], WHITE, radius=SMALLEST_POINT * 2 * side)
    for index in np.argsort(weights, axis=None):  # the largest weights on top
        head, level, point = np.unravel_index(index, weights.shape)
        part = float(weights[head, level, point] / weights.max())
        radius = (SMALLEST_POINT + (LARGEST_POINT - SMALLEST_POINT) * part**0.5) * side
        visualizer.draw_circle(locations[head, level, point], (*colors[level], 0.35 + 0.65 * part), radius)
    return _finish(visualizer)


def _crop(image: np.ndarray, reference: np.ndarray, zoom: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Crop an image around a reference in pixels; return the upper left corner (x, y) and the crop."""
    if zoom is None:
        return np.zeros(2), image
    if zoom <= 0:
        raise ValueError(f"zoom must be positive, found {zoom}")
    half = max(zoom * reference[2:].max(initial=0) / 2, LEAST_WINDOW / 2)
    limits = np.array([image.shape[1], image.shape[0]])
    x0, y0 = np.clip(np.floor(reference[:2] - half), 0, limits - 1).astype(int)
    x1, y1 = np.clip(np.ceil(reference[:2] + half), [x0 + 1, y0 + 1], limits).astype(int)
    return np.array([x0, y0]), np.ascontiguousarray(image[y0:y1, x0:x1])


def _corners(box: np.ndarray) -> np.ndarray:
    return cxcywh_to_xyxy(torch.from_numpy(np.asarray(box))).numpy()


def _finish(visualizer: Visualizer) -> np.ndarray:
    return visualizer.output.get_image()
