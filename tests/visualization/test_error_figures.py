"""Figures of an error analysis show its numbers."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from querydet.evaluation.error_analysis import Settings, analyze_errors
from querydet.evaluation.errors import ERRORS
from querydet.utils.run_lengths import encode_masks
from querydet.visualization import error_figures
from querydet.visualization.error_figures import COLORS, draw_confusion, draw_costs, draw_precision, draw_worst
from querydet.visualization.figures import png_of
from tests.evaluation.hand_made import make_dataset
from tests.evaluation.test_errors import HERE, THERE, rows

DETECTIONS = {1: rows((0, HERE, 0.9), (0, THERE, 0.8)), 2: rows((1, [0, 0, 50, 50], 0.7))}
SETTINGS = Settings(worst=2)


@pytest.fixture
def dataset():
    """Class 0 is found, an object of class 1 with the wrong class; in image 2 it is missed."""
    truth = [{"bbox": HERE}, {"bbox": THERE, "category_id": 1}]
    return make_dataset(truth, [{"bbox": THERE, "category_id": 1}], size=(1000, 1000))


@pytest.fixture
def analysis(dataset):
    return analyze_errors(dataset, DETECTIONS, SETTINGS)


def cells(axes):
    """The numbers of a table."""
    return [text.get_text() for text in axes.texts]


def test_bars_are_gains_and_counts(analysis):
    gains, counts, table = draw_costs(analysis).axes
    heights = [bar.get_height() for bar in counts.containers[0]]
    assert heights == [analysis["sizes"]["all"]["counts"][error] for error in ERRORS]
    assert sum(heights) == 3  # classification, background, missed
    heights = [bar.get_height() for bar in gains.containers[0]]
    assert heights == [max(0, analysis["sizes"]["all"]["gain"][error]) for error in ERRORS]
    assert [label.get_text() for label in table.get_yticklabels()] == ["class 1", "class 0"]  # the frequent one first
    shown = [f"{analysis['classes'][name]['gain'][error]:.1f}" for name in ("class 1", "class 0") for error in ERRORS]
    assert cells(table) == shown


def test_curves_are_those_of_the_classes_with_objects(analysis):
    mean, single = draw_precision(analysis).axes
    labels = [text.get_text() for text in single.get_legend().get_texts()]
    assert labels == ["class 1 (0.0)", f"class 0 ({100 * np.mean(analysis['curves']['classes']['class 0']):.1f})"]
    assert len(mean.lines) == len(analysis["curves"]["iou"])
    empty = analyze_errors(make_dataset([], size=(1000, 1000)), {})
    assert "no objects" in cells(draw_precision(empty).axes[0])


def test_confusions_are_counted_and_the_worst_classes_kept(analysis, monkeypatch):
    (axes,) = draw_confusion(analysis).axes
    matrix = np.array(analysis["confusion"]["matrix"])
    assert cells(axes) == [str(count or "") for count in matrix.ravel()]
    monkeypatch.setattr(error_figures, "MOST_CLASSES", 1)
    (axes,) = draw_confusion(analysis).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["class 1", "background"]
    assert "the 1 classes with the most errors" in axes.get_title()


def test_every_figure_can_be_drawn_without_objects_and_detections():
    empty = analyze_errors(make_dataset([], size=(1000, 1000)), {})
    for draw in (draw_costs, draw_precision, draw_confusion):
        assert png_of(draw(empty)).startswith(b"\x89PNG")


def test_the_worst_images_have_truth_beside_errors(dataset, analysis, tmp_path):
    for record in dataset:
        record["file_name"] = str(tmp_path / record["file_name"])
        Image.new("RGB", (1000, 1000)).save(record["file_name"])
    panels = draw_worst(analysis, dataset, DETECTIONS, SETTINGS)
    assert [panel.title for panel in panels[::2]] == ["2.png: 1 objects", "1.png: 2 objects"]  # the worst first
    assert panels[3].title.startswith("1 right, 1 classification")

    def has(panel, kind):
        color = np.array(to_rgb(COLORS[kind])) * 255 / 2  # borders are half transparent, on black
        return bool((np.abs(panel.image - color).sum(axis=2) < 6).any())

    assert [has(panels[0], kind) for kind in ("right", "missed")] == [False, True]
    assert [has(panels[1], kind) for kind in ("right", "background")] == [False, True]
    assert [has(panels[2], kind) for kind in ("right", "missed")] == [True, False]
    assert [has(panels[3], kind) for kind in ("right", "classification", "background")] == [True, True, False]


def test_the_worst_masks_are_drawn_with_their_errors(dataset, tmp_path):
    """A box is right and its mask is not."""
    pixels = torch.zeros(2, 1000, 1000, dtype=torch.bool)
    pixels[:, 100:200, 100:200] = True
    pixels[1, 110:190, 110:190] = False
    whole, frame = encode_masks(pixels)
    for record in dataset:
        record["file_name"] = str(tmp_path / record["file_name"])
        Image.new("RGB", (1000, 1000)).save(record["file_name"])
        record["annotations"] = [{**record["annotations"][0], "bbox": HERE, "category_id": 0, "segmentation": whole}]
    found = {1: rows((0, HERE, 0.9))}
    summaries, pictures = [], []
    for masks in (None, {1: [frame]}):
        analysis = analyze_errors(dataset, found, SETTINGS, masks=masks)
        panels = draw_worst(analysis, dataset, found, SETTINGS, masks=masks)
        summaries.append([panel.title for panel in panels[1::2]])
        pictures.append(panels[3].image)
    assert summaries == [["0 right, 1 missed", "1 right, no errors"], ["0 right, 1 missed", "0 right, 1 localisation"]]
    boxes, masks = pictures
    assert not boxes[150, 105].any()  # black within the box ...
    assert masks[150, 105] == pytest.approx(0.45 * 255 * np.array(to_rgb(COLORS["localisation"])), abs=2)
    assert not masks[150, 150].any()  # ... and in the hole of the mask


def test_the_objects_of_the_worst_images_have_their_masks(dataset, analysis, tmp_path):
    for record in dataset:
        record["file_name"] = str(tmp_path / record["file_name"])
        Image.new("RGB", (1000, 1000)).save(record["file_name"])
    before = draw_worst(analysis, dataset, DETECTIONS, SETTINGS)
    for record in dataset:
        for item in record["annotations"]:
            item["segmentation"] = [np.array([700.0, 700, 900, 700, 900, 900, 700, 900])]
    panels = draw_worst(analysis, dataset, DETECTIONS, SETTINGS)
    assert panels[0].image[800, 800] == pytest.approx(0.45 * 255 * np.array(to_rgb(COLORS["missed"])), abs=2)
    assert np.array_equal(panels[1].image, before[1].image)  # the detections
