"""Pictures of the queries of one image: how their references move from layer to layer, and where they look.

Boxes and points are drawn through Detectron2's ``Visualizer``. All functions take images (H, W, 3), RGB, uint8.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from detectron2.data.detection_utils import read_image
from detectron2.utils.visualizer import Visualizer
from torch import Tensor, nn

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.visualization.drawing import instances_of_record, make_visualizer
from querydet.visualization.grids import Panel
from querydet.visualization.inspection import Inspection, check_heads, inspect_image

WHITE = (1.0, 1.0, 1.0)
SMALLEST_POINT, LARGEST_POINT = 0.004, 0.018  # radii of sampling points, parts of the image's shorter side

LEAST_WINDOW = 64  # pixels that a zoom shows at least

Color = tuple[float, ...]


def layer_colors(count: int) -> list[Color]:
    """Dark to bright for so many steps; the last one is the brightest."""
    colors = matplotlib.colormaps["plasma"](np.linspace(0.1, 0.95, count))
    return [tuple(color[:3]) for color in colors.tolist()]


def level_colors(count: int) -> list[Color]:
    """Colours of so many feature levels that are easy to tell apart."""
    return [tuple(matplotlib.colormaps["tab10"](level % 10)[:3]) for level in range(count)]


def reference_steps(inspection: Inspection, query: int) -> tuple[Tensor, list[str]]:
    """Where a query was: the reference of every layer, and the last prediction.

    A decoder that does not refine its references leaves them where they are: then what moves are the predictions, and
    the steps are the first reference and the prediction of every layer.

    Returns:
        (D + 1, 4) boxes, points having no size, and the names of the steps.
    """
    given = [references[query] for references in inspection.references]
    references = torch.stack([torch.cat([each, torch.zeros(4 - len(each))]) for each in given])
    first, *others = inspection.references
    fixed = bool(others) and all(torch.equal(first, other) for other in others)
    predictions = inspection.boxes[:, query]
    count = inspection.num_layers
    if fixed:
        return torch.cat([references[:1], predictions]), ["start", *(f"layer {i + 1}" for i in range(count))]
    names = [f"into layer {i + 1}" for i in range(count)]
    return torch.cat([references, predictions[-1:]]), [*names, "prediction"]


def draw_references(image: np.ndarray, inspection: Inspection, query: int, objects_xyxy_abs: Any = None) -> np.ndarray:
    """Draws the boxes of a query from layer to layer, dark to bright, and the way of their centre.

    Args:
        image: the image.
        inspection: of it.
        query: which.
        objects_xyxy_abs: (T, 4) annotated boxes in pixels, drawn white and dashed; None: none.

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
    """Panels of the best queries of an image of a data set, and what their colours mean.

    Args:
        model: a detector of this project.
        record: of the data set.
        mapper: the test mapper.
        names: class names by index.
        count: how many queries.

    Returns:
        No panels where the mapper leaves the image out.
    """
    sample = mapper(record)
    if sample is None:
        return [], {}
    found = inspect_image(model, sample)
    image, objects = read_image(record["file_name"], format="RGB"), instances_of_record(record).gt_boxes.tensor
    panels = [
        Panel(draw_references(image, found, query, objects.numpy()), describe(found, query, names))
        for query in found.best_queries(count)
    ]
    return panels, reference_legend(found)


def describe(inspection: Inspection, query: int, names: Sequence[str]) -> str:
    """A query, the class that it says, and its score."""
    label, score = inspection.label(inspection.check_query(query))
    return f"query {query}, {names[label]} {score:.0%}"


def reference_legend(inspection: Inspection) -> dict[str, Color]:
    """The colours of :func:`draw_references`."""
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
    """Draws the points that a query samples in a decoder layer: a colour for each level, larger for larger weights.

    Args:
        image: the image.
        inspection: of it.
        query: which.
        layer: index of the decoder layer, from 0.
        heads: which; none: all.
        zoom: show only the surroundings of the reference, so many times its size; None: the whole image.

    Returns:
        The picture, enlarged if the image is small, with the reference of the layer in white.

    Raises:
        ValueError: there is no such query or head, the model does not sample, or zoom is not positive.
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
    for index in np.argsort(weights, axis=None):  # the heaviest on top
        head, level, point = np.unravel_index(index, weights.shape)
        part = float(weights[head, level, point] / weights.max())
        radius = (SMALLEST_POINT + (LARGEST_POINT - SMALLEST_POINT) * part**0.5) * side
        visualizer.draw_circle(locations[head, level, point], (*colors[level], 0.35 + 0.65 * part), radius)
    return _finish(visualizer)


def _crop(image: np.ndarray, reference: np.ndarray, zoom: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The upper left corner (x, y), and the part of an image around a reference in pixels."""
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
