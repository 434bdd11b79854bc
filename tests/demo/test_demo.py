"""The page's functions, without a browser."""

import io

import numpy as np
import pytest
from PIL import Image

from querydet import Predictor
from querydet.demo import find_choices
from querydet.demo.detection import LEAST_SCORE, decode
from querydet.demo.server import MAX_BYTES, create_app, make_server
from tests.engine.conftest import DINO_CONFIG

HEADERS = {"Host": "127.0.0.1:7860"}


@pytest.fixture
def client(models):
    pytest.importorskip("flask", reason="needs Flask: pip install 'querydet[demo]'")
    return create_app(models, 0.4).test_client()


def ask(client, content, model="0", headers=HEADERS):
    data = {"image": (io.BytesIO(content), "photo.png"), "model": model}
    return client.post("/detect", data=data, headers=headers)


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


def test_the_best_checkpoint_of_a_run_comes_first(models, run_folder):
    names = [choice.name for choice in models.choices]
    assert names == [f"{run_folder.name}: model_best.pth", f"{run_folder.name}: model_0000001.pth"]
    one = find_choices([], DINO_CONFIG, [str(run_folder / "model_best.pth")])
    assert one[0].name == "dino_config.py: model_best.pth"
    assert find_choices(["dino_r50_4scale_12ep"])[0].weights is None


def test_what_is_not_there_is_named(tmp_path, run_folder):
    with pytest.raises(FileNotFoundError, match=r"no folder of a training run: it has no config\.yaml"):
        find_choices([str(tmp_path)])
    (tmp_path / "config.yaml").touch()
    with pytest.raises(FileNotFoundError, match="has no checkpoints"):
        find_choices([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        find_choices([], DINO_CONFIG, ["none.pth"])
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        find_choices([], "none.py", [str(run_folder / "model_best.pth")])
    with pytest.raises(KeyError, match="'nothing' is no folder, and no published model 'nothing'"):
        find_choices(["nothing"])
    for items, config, weights in (([], None, []), ([], "a.py", []), ([], None, ["a.pth"]), (["a.pth"], None, [])):
        with pytest.raises(ValueError, match=r"no model to show|belong together|use --config-file"):
            find_choices(items, config, weights)


def test_the_server_answers_pages_of_this_machine_alone(client, picture):
    settings = client.get("/settings", headers=HEADERS).get_json()
    assert (len(settings["models"]), settings["threshold"]) == (2, 0.4)
    answer = ask(client, picture.read_bytes())
    assert answer.status_code == 200
    assert answer.get_json()["width"] == 120
    assert ask(client, picture.read_bytes(), headers={**HEADERS, "Origin": "http://127.0.0.1:7860"}).status_code == 200
    for headers in ({"Host": "elsewhere.example"}, {**HEADERS, "Origin": "https://elsewhere.example"}):
        assert ask(client, picture.read_bytes(), headers=headers).status_code == 403
    page = client.get("/", headers=HEADERS)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert b"http://" not in page.data  # nothing from elsewhere
    assert b"https://" not in page.data


def test_bad_requests_say_why(client, picture):
    content = picture.read_bytes()
    for body, model, message in (
        (b"text", "0", "no image"),
        (content[:-2000], "0", "cannot be read as an image"),
        (content, "7", "no model 7: they are 0 to 1"),
        (content, "x", "the number of a 'model'"),
    ):
        answer = ask(client, body, model)
        assert answer.status_code == 400
        assert message in answer.get_json()["error"]
    assert client.post("/detect", headers=HEADERS).status_code == 400
    large = ask(client, bytes(MAX_BYTES + 1))
    assert large.status_code == 413
    assert "larger than 64 MiB" in large.get_json()["error"]


def test_a_checkpoint_that_goes_away_is_an_answer(client, models, run_folder, picture):
    path = run_folder / "model_0000001.pth"
    path.rename(run_folder / "gone")
    try:
        answer = ask(client, picture.read_bytes(), "1")
        assert answer.status_code == 400
        assert "model_0000001.pth" in answer.get_json()["error"]
    finally:
        (run_folder / "gone").rename(path)
    assert ask(client, picture.read_bytes(), "1").status_code == 200


def test_failures_of_the_model_are_answers(client, models, picture, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(models, "detect", fail)
    answer = ask(client, picture.read_bytes())
    assert answer.status_code == 500
    assert "RuntimeError: out of memory" in answer.get_json()["error"]


def test_settings_are_checked(models):
    pytest.importorskip("flask", reason="needs Flask: pip install 'querydet[demo]'")
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\]"):
        create_app(models, 2)
    first = make_server(create_app(models), 0)
    try:
        assert first.server_address[0] == "127.0.0.1"
        with pytest.raises(OSError, match=f"port {first.server_port} is taken"):
            make_server(create_app(models), first.server_port)
    finally:
        first.server_close()


def test_modes_of_images():
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        content = io.BytesIO()
        Image.new(mode, (5, 4)).save(content, "TIFF")
        assert decode(content.getvalue()).size == (5, 4)
