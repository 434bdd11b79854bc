"""Reference points of all groups for one object (Group DETR, arXiv 2207.13085, figure 3)."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from querydet.evaluation.groups import GroupMatch
from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.visualization.drawing import make_visualizer
from querydet.visualization.query_pictures import WHITE, Color

RADIUS = 0.012  # of a point, as a fraction of the image's shorter side


def group_colors(count: int) -> list[Color]:
    """Return colours for `count` groups, white for the primary one."""
    others = matplotlib.colormaps["hsv"](np.linspace(0, 1, max(1, count - 1), endpoint=False))
    return [WHITE, *(tuple(color[:3]) for color in others.tolist())][:count]


def draw_group_points(
    image: np.ndarray, matches: Sequence[GroupMatch], names: Sequence[str], object_xyxy_abs: Sequence[float]
) -> np.ndarray:
    """Draw the initial point and the predicted box of match group's query for one object.

    Args:
        image: (H, W, 3), RGB, uint8.
        matches: matches of the object.
        names: names of all groups, the primary one first.
        object_xyxy_abs: the annotated box in pixels, drawn dotted.

    Returns:
        The picture, enlarged if the image is small.
    """
    visualizer, size = make_visualizer(image), np.array([image.shape[1], image.shape[0]])
    colors = dict(zip(names, group_colors(len(names)), strict=True))
    visualizer.draw_box(np.asarray(object_xyxy_abs), alpha=0.9, edge_color=WHITE, line_style=":")
    for match in reversed(matches):  # the primary group on top
        corners = cxcywh_to_xyxy(match.box).numpy() * np.tile(size, 2)
        visualizer.draw_box(corners, alpha=0.6, edge_color=colors[match.group])
        visualizer.draw_circle(match.point.numpy() * size, colors[match.group], radius=RADIUS * min(size))
    return visualizer.output.get_image()
