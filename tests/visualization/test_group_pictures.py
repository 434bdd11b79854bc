"""Each group has its colour, and its query is drawn where it starts."""

import numpy as np
import torch

from querydet.evaluation.groups import GroupMatch
from querydet.visualization.drawing import drawing_scale
from querydet.visualization.group_pictures import draw_group_points, group_colors
from querydet.visualization.query_pictures import WHITE

BLACK = np.zeros((200, 300, 3), np.uint8)


def match(group, point, box=(0.5, 0.5, 0.4, 0.4)):
    return GroupMatch(group, 0, torch.tensor(point), torch.tensor(box))


def test_colours_differ_and_the_primary_group_is_white():
    assert group_colors(1) == [WHITE]
    for count in (2, 5, 11):
        colors = group_colors(count)
        assert colors[0] == WHITE
        assert len(set(colors)) == len(colors) == count


def test_a_point_is_where_its_query_starts_in_the_colour_of_its_group():
    names, points = ["primary", "one", "two"], [(0.2, 0.2), (0.2, 0.8), (0.8, 0.2)]
    matches = [match(name, point) for name, point in zip(names, points, strict=True)]
    drawn = draw_group_points(BLACK, matches, names, (60, 40, 240, 160))
    scale = drawing_scale(BLACK)
    assert drawn.shape == (200 * scale, 300 * scale, 3)
    for (x, y), color in zip(points, group_colors(3), strict=True):
        found = drawn[round(y * 200 * scale), round(x * 300 * scale)] / 255
        assert np.allclose(found, color, atol=0.02)
    assert drawn[round(0.8 * 200 * scale), round(0.8 * 300 * scale)].max() == 0  # no group starts there
    assert BLACK.max() == 0


def test_the_primary_group_is_on_top():
    names = ["primary", "one"]
    drawn = draw_group_points(BLACK, [match(name, (0.1, 0.1)) for name in names], names, (60, 40, 240, 160))
    scale = drawing_scale(BLACK)
    assert (drawn[20 * scale, 30 * scale] == 255).all()
