"""``querydet predict``: its files, and its messages about bad input."""

import json
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from querydet.data import load_coco
from querydet.data.masks import to_bitmap
from querydet.data.media import VideoSink
from querydet.inference.predictor import Predictor
from tests.masked import WithMasks


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (60, 40)), ("sub/b.jpg", (40, 60)), ("c.bmp", (32, 32))):
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def predict(cli, config, weights, tmp_path):
    """Runs the command, shows everything with a threshold of 0, returns exit status and output folder."""

    def run(*inputs, options=(), overrides=()):
        output = tmp_path / "out"
        command = ["--config-file", config, "--weights", weights, "--output", str(output), "--threshold", "0"]
        return cli("predict").main([*command, "--input", *map(str, inputs), *options, "--", *overrides]), output

    return run


def test_folder_of_images(predict, photos):
    status, output = predict(photos)
    assert status == 0
    assert sorted(str(p.relative_to(output)) for p in output.rglob("*.*")) == [
        "a.png", "c.bmp.png", "detections.json", "sub/b.jpg"
    ]  # fmt: skip
    dataset = load_coco(str(output / "detections.json"), str(photos))
    assert [(record["width"], record["height"]) for record in dataset] == [(60, 40), (32, 32), (40, 60)]
    with open(output / "detections.json") as file:
        content = json.load(file)
    assert [item["name"] for item in content["categories"]][:2] == ["circle", "square"]
    assert len(content["annotations"]) == 3  # the toy finds one object an image
    assert Image.open(output / "a.png").size == (720, 480)


def test_threshold(predict, photos):
    _, output = predict(photos, options=["--threshold", "1"])
    assert json.loads((output / "detections.json").read_text())["annotations"] == []


def test_given_class_names(predict, photos):
    _, output = predict(photos / "a.png", options=["--classes", "u, v,w,x,y,z"])
    categories = json.loads((output / "detections.json").read_text())["categories"]
    assert [item["name"] for item in categories] == list("uvwxyz")
    with pytest.raises(ValueError, match="2 class names were given, the model has 6 classes"):
        predict(photos / "a.png", options=["--classes", "u,v"])


def test_a_bad_image_is_reported_after_the_others_are_done(predict, photos):
    (photos / "bad.png").write_bytes(b"no image")
    status, output = predict(photos)
    assert status == 1
    assert len(json.loads((output / "detections.json").read_text())["images"]) == 3


def test_two_inputs_are_never_drawn_to_one_file(predict, photos):
    (photos / "c.bmp.png").write_bytes((photos / "a.png").read_bytes())
    _, output = predict(photos)
    assert Image.open(output / "c.bmp.png").size[0] != Image.open(output / "c.bmp_2.png").size[0]


def test_a_video_without_opencv_is_reported_after_the_images_are_done(predict, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (photos / "aa.mp4").write_bytes(b"a video")
    status, output = predict(photos)
    assert status == 1
    assert len(json.loads((output / "detections.json").read_text())["images"]) == 3


def test_an_interrupted_run_keeps_its_detections(predict, photos, monkeypatch):
    for number in range(20):
        (photos / f"d{number:02}.png").write_bytes((photos / "a.png").read_bytes())
    shown = []

    def interrupt(image, *_):
        shown.append(image)
        if len(shown) == 2:
            raise KeyboardInterrupt
        return image

    monkeypatch.setattr("querydet.cli.predict.draw_instances", interrupt)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        predict(photos)
    assert threading.active_count() == threads
    output = photos.parent / "out"
    images = json.loads((output / "detections.json").read_text())["images"]
    assert 2 <= len(images) < 15
    for path in output.rglob("*.png"):  # what was begun is complete
        assert Image.open(path).convert("RGB").size == (60, 40)


def test_a_picture_that_cannot_be_written_is_named_and_the_others_are(predict, photos, caplog):
    output = photos.parent / "out"
    (output / "c.bmp.png").mkdir(parents=True)
    status, _ = predict(photos)
    assert status == 1
    assert (output / "a.png").is_file()
    assert (output / "sub" / "b.jpg").is_file()
    assert "c.bmp cannot be used" in caplog.text
    assert len(json.loads((output / "detections.json").read_text())["images"]) == 3  # it was detected on


def test_an_image_that_the_model_refuses_is_named_and_the_others_are_predicted(predict, photos, monkeypatch, caplog):
    detect = Predictor.detect_prepared

    def refuse(self, inputs):
        if any((values["height"], values["width"]) == (32, 32) for values in inputs):
            raise FloatingPointError("NaN in layer 3")
        return detect(self, inputs)

    monkeypatch.setattr(Predictor, "detect_prepared", refuse)
    for options in ((), ("--batch-size", "3")):
        status, output = predict(photos, options=options)
        assert status == 1
        assert "c.bmp cannot be used: FloatingPointError: NaN in layer 3" in caplog.text
        names = [image["file_name"] for image in json.loads((output / "detections.json").read_text())["images"]]
        assert names == ["a.png", "sub/b.jpg"]
        caplog.clear()


def test_batches_give_the_same_in_the_same_order(predict, photos):
    contents = []
    for size in ("1", "2"):
        _, output = predict(photos, options=["--batch-size", size])
        contents.append(json.loads((output / "detections.json").read_text()))
    assert contents[0]["images"] == contents[1]["images"]
    for one, other in zip(contents[0]["annotations"], contents[1]["annotations"], strict=True):
        assert one["image_id"] == other["image_id"]
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.1)


def test_bad_batch_sizes_are_refused(predict, photos, capsys):
    with pytest.raises(SystemExit):
        predict(photos, options=["--batch-size", "0"])
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_inputs_are_never_overwritten(cli, config, weights, photos):
    command = ["--config-file", config, "--weights", weights, "--input", str(photos), "--output", str(photos)]
    with pytest.raises(ValueError, match=r"--output would overwrite the input .*a\.png"):
        cli("predict").main(command)


def test_missing_input_and_weights_are_named(predict, cli, config, photos, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        predict(tmp_path / "nowhere")
    command = ["--config-file", config, "--weights", "no.pth", "--input", str(photos), "--output", str(tmp_path / "o")]
    with pytest.raises(FileNotFoundError, match=r"no\.pth"):
        cli("predict").main(command)


def test_a_misspelt_override_is_refused(predict, photos):
    with pytest.raises(ValueError, match=r"no key 'train.devise'; did you mean 'train.device'"):
        predict(photos, overrides=["train.devise=cpu"])


@pytest.mark.parametrize("as_rle", [False, True])
def test_masks_are_drawn_and_written(predict, cli, photos, monkeypatch, as_rle):
    _, output = predict(photos)
    plain = np.asarray(Image.open(output / "a.png")).astype(int)
    without = json.loads((output / "detections.json").read_text())["annotations"]
    assert all("segmentation" not in item for item in without)

    def with_masks(*arguments, **options):
        predictor = Predictor(*arguments, **options)
        predictor.model = WithMasks(predictor.model, as_rle)
        return predictor

    monkeypatch.setattr(cli("predict"), "Predictor", with_masks)
    status, output = predict(photos)
    assert status == 0
    content = json.loads((output / "detections.json").read_text())
    sizes = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
    for item, other in zip(content["annotations"], without, strict=True):
        assert item["segmentation"]["size"] == sizes[item["image_id"]]
        bitmap = to_bitmap(item["segmentation"], *item["segmentation"]["size"])
        assert item["area"] == bitmap.sum() > 0
        assert {**item, "area": 0} == {**other, "area": 0, "segmentation": item["segmentation"]}
    dataset = load_coco(str(output / "detections.json"), str(photos), masks=True)
    assert [len(record["annotations"]) for record in dataset] == [1, 1, 1]
    changed = np.abs(np.asarray(Image.open(output / "a.png")) - plain).max(axis=2) > 8
    (height, width), item = sizes[1], content["annotations"][0]
    mask = to_bitmap(item["segmentation"], height, width)
    scale = plain.shape[0] // height
    assert changed[mask.repeat(scale, axis=0).repeat(scale, axis=1)].mean() > 0.5


def test_video(predict, tmp_path):
    pytest.importorskip("cv2", reason="videos need OpenCV")
    clip = str(tmp_path / "clip.mp4")
    sink = VideoSink(clip, 5.0)
    try:
        for _ in range(3):
            sink.write(np.zeros((48, 64, 3), np.uint8))
    except ValueError as error:
        pytest.skip(f"this OpenCV has no mp4 encoder: {error}")
    sink.close()
    status, output = predict(clip)
    assert status == 0
    assert (output / "clip.mp4").stat().st_size > 0
    names = [image["file_name"] for image in json.loads((output / "detections.json").read_text())["images"]]
    assert names == ["clip.mp4#000001", "clip.mp4#000002", "clip.mp4#000003"]


def test_a_frame_that_the_model_refuses_ends_its_video_alone(predict, photos, monkeypatch, caplog):
    pytest.importorskip("cv2", reason="videos need OpenCV")
    frames = [np.full((32, 32, 3), value, np.uint8) for value in (0, 1, 2, 3)]
    written = []
    monkeypatch.setattr("querydet.cli.predict.read_video", lambda path: iter(frames))
    monkeypatch.setattr("querydet.cli.predict.video_fps", lambda path: 5.0)
    monkeypatch.setattr("querydet.cli.predict.VideoSink.write", lambda self, frame: written.append(frame.shape))
    detect = Predictor.detect_prepared

    def refuse(self, inputs):
        if inputs[0]["image"].float().mean() == 2:
            raise FloatingPointError("NaN in layer 3")
        return detect(self, inputs)

    monkeypatch.setattr(Predictor, "detect_prepared", refuse)
    (photos / "clip.mp4").write_bytes(b"a video")
    status, output = predict(photos)
    assert status == 1
    assert "clip.mp4 cannot be used: FloatingPointError: NaN in layer 3" in caplog.text
    names = [image["file_name"] for image in json.loads((output / "detections.json").read_text())["images"]]
    assert names == ["a.png", "c.bmp", "clip.mp4#000001", "clip.mp4#000002", "sub/b.jpg"]
    assert len(written) == 2
