"""Pictures of queries, checked on pixels."""

import numpy as np
import pytest
import torch

from querydet.evaluation.query_predictions import QueryRecord
from querydet.visualization.inspection import Inspection, SamplingPoints
from querydet.visualization.query_pictures import (
    draw_references,
    draw_sampling,
    layer_colors,
    level_colors,
    reference_legend,
    reference_steps,
)

GREY = np.full((200, 400, 3), 128, np.uint8)
SCALE = 2  # to 400 pixels


def inspection(references, boxes, locations=None, weights=None):
    """Of one query: references of each layer (D, 4 or 2), boxes (D, 4)."""
    boxes = torch.tensor(boxes)[:, None]
    logits = torch.zeros(len(boxes), 1, 3)
    record = QueryRecord(torch.tensor(references[0])[None], logits, boxes)
    sampling = () if locations is None else (SamplingPoints(locations, weights),) * len(boxes)
    return Inspection(tuple(torch.tensor([r]) for r in references), logits, boxes, sampling, record)


def near(picture, x, y, color, tolerance=60):
    """Whether a pixel around (x, y) of the image has about this colour."""
    patch = picture[round(y * SCALE) - 4 : round(y * SCALE) + 5, round(x * SCALE) - 4 : round(x * SCALE) + 5]
    return np.abs(patch.astype(int) - np.array(color[:3]) * 255).sum(-1).min() < tolerance


def test_the_boxes_of_every_layer_are_drawn_in_its_colour():
    found = inspection([[0.25, 0.5, 0.2, 0.4], [0.5, 0.5, 0.2, 0.4]], [[0.5, 0.5, 0.2, 0.4], [0.75, 0.5, 0.2, 0.4]])
    picture = draw_references(GREY, found, 0)
    assert list(reference_legend(found)) == ["into layer 1", "into layer 2", "prediction"]
    for x, color in zip((100, 200, 300), layer_colors(3), strict=True):
        for corner in (x - 40, x + 40):  # left and right border
            assert near(picture, corner, 120, color)
    assert near(picture, 150, 100, (1, 1, 1), tolerance=120)  # the way of the centre
    assert not near(picture, 150, 40, (1, 1, 1), tolerance=250)


def test_references_that_stay_are_drawn_once_and_predictions_move():
    found = inspection([[0.5, 0.5], [0.5, 0.5]], [[0.25, 0.5, 0.2, 0.4], [0.75, 0.5, 0.2, 0.4]])
    steps, names = reference_steps(found, 0)
    assert names == ["start", "layer 1", "layer 2"]
    assert steps[:, 0].tolist() == [0.5, 0.25, 0.75]
    assert steps[0, 2:].tolist() == [0, 0]
    draw_references(GREY, found, 0, [[10, 10, 50, 50]])


def test_sampling_points_have_the_colour_of_their_level_and_the_size_of_their_weight():
    locations = torch.tensor([[[[0.2, 0.5]], [[0.8, 0.5]]], [[[0.2, 0.1]], [[2.0, -1.0]]]])[None]  # (Q, M, L, P, 2)
    weights = torch.tensor([[[0.9], [0.1]], [[0.5], [0.5]]])[None]
    found = inspection([[0.5, 0.5, 0.2, 0.4]], [[0.5, 0.5, 0.2, 0.4]], locations, weights)
    first, second = level_colors(2)
    picture = draw_sampling(GREY, found, 0, 0, [0])
    assert near(picture, 80, 100, first)
    assert near(picture, 320, 100, second, tolerance=250)
    assert not near(picture, 80, 20, first, tolerance=150)  # the other head's
    assert near(draw_sampling(GREY, found, 0, 0), 80, 20, first, tolerance=150)
    changed = np.abs(picture.astype(int) - 128).max(-1) > 30
    heavy, light = changed[160:240, 120:200].sum(), changed[160:240, 600:680].sum()
    assert heavy > 2 * light > 0


def test_a_zoom_shows_the_surroundings_of_the_reference():
    locations, weights = torch.tensor([[[[[0.5, 0.5]]]]]), torch.ones(1, 1, 1, 1)
    found = inspection([[0.25, 0.5, 0.2, 0.4]], [[0.25, 0.5, 0.2, 0.4]], locations, weights)
    picture = draw_sampling(GREY, found, 0, 0, zoom=3.0)  # 120 pixels to each side of (100, 100)
    assert picture.shape[:2] == (400, pytest.approx(440, abs=2))  # from 0 to 220, and 0 to 200
    assert near(picture, 200, 100, level_colors(1)[0])
    for x in (60, 140):
        assert near(picture, x, 70, (1, 1, 1), tolerance=120)
    with pytest.raises(ValueError, match="zoom must be positive, found -1"):
        draw_sampling(GREY, found, 0, 0, zoom=-1)


def test_drawing_a_model_without_samples_or_a_missing_query_is_refused():
    found = inspection([[0.5, 0.5, 0.2, 0.4]], [[0.5, 0.5, 0.2, 0.4]])
    with pytest.raises(ValueError, match="no sampling points"):
        draw_sampling(GREY, found, 0, 0)
    with pytest.raises(ValueError, match="no query 1"):
        draw_references(GREY, found, 1)
