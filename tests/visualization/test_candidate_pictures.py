"""Pictures of the candidates of objects."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from querydet.evaluation.candidates import rank_candidates
from querydet.evaluation.per_image import image_truth
from querydet.evaluation.query_predictions import QueryRecord
from querydet.visualization.candidate_pictures import candidate_panels, plot_ranks, read_ranks
from querydet.visualization.query_pictures import layer_colors
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


def test_models_are_compared_by_rank(tmp_path):
    files = []
    for name, best in (("a", 80), ("b", 70)):
        (tmp_path / name).mkdir()
        by_rank = {"objects": 3, "IoU": [best, 50.0], "score": [30.0, 10.0]}
        (tmp_path / name / "candidates.json").write_text(json.dumps({"IoU": 1, "by_rank": by_rank}))
        files.append(str(tmp_path / name))
    assert read_ranks(files[0]) == {"IoU": [80, 50], "score": [30, 10]}
    plot_ranks([files[0], files[1] + "/candidates.json"], str(tmp_path / "new" / "x.png"))
    assert Image.open(tmp_path / "new" / "x.png").size[0] > 800
    (tmp_path / "a" / "candidates.json").write_text("[]")
    with pytest.raises(ValueError, match="not a file of CandidateEvaluator"):
        read_ranks(files[0])
    with pytest.raises(FileNotFoundError, match="evaluation"):
        read_ranks(str(tmp_path))
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_ranks([], "x.png")
