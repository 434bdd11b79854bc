"""Detections of an uploaded image."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from querydet import Predictor
from querydet.demo import detection
from querydet.demo.detection import LEAST_SCORE
from querydet.modeling.masks import PasteMasks
from querydet.utils.instance_masks import masks_of


def test_detections_are_those_of_the_predictor(models, run_folder, picture):
    expected = Predictor(str(run_folder / "config.yaml"), str(run_folder / "model_best.pth"), threshold=LEAST_SCORE)
    found = expected(picture)
    detections = models.detect(picture.read_bytes(), 0)
    assert (detections.width, detections.height) == (120, 80)
    assert len(detections.objects) == len(found) > 0
    scores = [item["score"] for item in detections.objects]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx(found.scores.tolist(), abs=1e-4)
    assert np.allclose([item["box"] for item in detections.objects], found.pred_boxes.tensor.numpy(), atol=0.06)
    assert [item["label"] for item in detections.objects] == [f"thing {index}" for index in found.pred_classes.tolist()]
    other = models.detect(picture.read_bytes(), 1)
    assert [item["score"] for item in other.objects] != scores


def test_an_image_is_turned_as_its_camera_says(models):
    image = Image.new("RGB", (120, 80))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    content = io.BytesIO()
    image.save(content, "JPEG", exif=exif)
    found = models.detect(content.getvalue(), 0)
    assert (found.width, found.height) == (80, 120)


def test_one_image_is_decoded_at_a_time(models, picture, monkeypatch):
    locked = []

    def decode(data):
        locked.append(models._lock.locked())
        return Image.open(io.BytesIO(data))

    monkeypatch.setattr(detection, "decode", decode)
    models.detect(picture.read_bytes(), 0)
    assert locked == [True]


def test_an_unknown_model_costs_no_decoding(models):
    with pytest.raises(detection.NoModelError, match="no model 7: they are 0 to 1"):
        models.detect(b"no image", 7)


def test_without_masks_nothing_is_said_of_them(models, picture):
    assert all(
        set(item) == {"label", "score", "box", "color"} for item in models.detect(picture.read_bytes(), 0).objects
    )


def test_masks_lie_where_the_detections_have_them(masked_models, picture):
    found = masked_models.detect(picture.read_bytes(), 0)
    masks = masks_of(masked_models._load(0)(picture)).numpy()
    assert len(found.objects) == len(masks) > 0
    for item, mask in zip(found.objects, masks, strict=True):
        assert (item["mask"] is None) == (not mask.any())
        if mask.any():
            part = item["mask"]
            image = Image.open(io.BytesIO(base64.b64decode(part["picture"].partition(",")[2]))).convert("RGBA")
            shown = np.zeros(mask.shape, dtype=bool)
            rows, columns = (slice(part[a], part[a] + part[b]) for a, b in (("y", "height"), ("x", "width")))
            shown[rows, columns] = np.asarray(image)[..., 3] > 0
            assert np.array_equal(shown, mask)
            color = "#" + "".join(f"{value:02x}" for value in np.asarray(image)[np.asarray(image)[..., 3] > 0][0, :3])
            assert color == item["color"]


def test_detectors_with_masks_give_run_lengths_of_what_is_sent():
    paste = PasteMasks(min_score=0.001)
    detection._spare_memory(SimpleNamespace(model=SimpleNamespace(masks=SimpleNamespace(paste=paste))))
    assert (paste.as_rle, paste.min_score) == (True, LEAST_SCORE)
    detection._spare_memory(SimpleNamespace(model=SimpleNamespace(masks=None)))
