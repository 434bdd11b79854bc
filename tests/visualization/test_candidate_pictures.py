"""Pictures of the candidates of objects."""

import numpy as np
import pytest
import torch

from querydet.evaluation.candidates import rank_candidates
from querydet.evaluation.per_image import image_truth
from querydet.evaluation.queries import QueryRecord
from querydet.visualization.candidates import candidate_panels
from querydet.visualization.queries import layer_colors
from tests.evaluation.hand_made import make_dataset

GREY = np.full((100, 200, 3), 128, np.uint8)
SCALE = 5  # to 500 pixels


def case(*annotations):
    boxes = torch.tensor([[0.25, 0.5, 0.3, 0.6], [0.75, 0.5, 0.3, 0.6]])
    record = QueryRecord(boxes, torch.zeros(1, 2, 3), boxes[None])
    truth = image_truth(make_dataset(annotations)[0])
    return record, truth, rank_candidates(record, truth, count=2)


def panels(record, truth, candidates, **options):
    return candidate_panels(GREY, record, truth, candidates, ["a", "b", "c"], **options)


def test_the_best_candidate_is_the_brightest():
    picture, curves = panels(*case([120, 20, 60, 60]))
    assert picture.title == "object 0, a: its 2 best candidates"
    last, best = (np.array(color) * 255 for color in layer_colors(2))
    for left, color in ((120, best), (20, last)):  # the right one is on the object
        border = picture.image[SCALE * 40 : SCALE * 45, SCALE * left - 8 : SCALE * left + 8].astype(float)
        assert np.abs(border - color).sum(-1).min() < 90
    assert curves.title.startswith("mean IoU 0.50, score 0.50")


def test_objects_are_chosen_and_checked():
    found = case([120, 20, 60, 60], [20, 20, 60, 60], {"bbox": [1, 1, 9, 9], "iscrowd": 1})
    found = (found[0], found[1].objects(), found[2])
    assert len(panels(*found)) == 4
    assert "object 1" in panels(*found, objects=[1])[0].title
    with pytest.raises(ValueError, match="there is no object 2: the image has 0 to 1"):
        panels(*found, objects=[2])
    with pytest.raises(ValueError, match="no annotated objects"):
        panels(*case())
