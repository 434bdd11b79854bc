"""Which files are run, under which names, and videos there and back."""

import logging
import os
from collections import Counter

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image, UnidentifiedImageError

from querydet.data import DetrDatasetMapper
from querydet.data.media import (
    IMAGE_SUFFIXES,
    ImageReader,
    VideoSink,
    find_media,
    read_video,
    reader_of,
    video_fps,
)
from querydet.utils.image_formats import FORMATS


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("in/b.PNG", "in/a.jpg", "in/sub/a.jpg", "in/notes.txt", "in/c.mp4"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path / "in"


def test_folders_are_searched_in_order(folder):
    assert [media.name for media in find_media([str(folder)])] == ["a.jpg", "b.PNG", "c.mp4", "sub/a.jpg"]
    assert [media.is_video for media in find_media([str(folder)])] == [False, False, True, False]


def test_names_are_unique(folder):
    names = [media.name for media in find_media([str(folder / "a.jpg"), str(folder / "sub" / "a.jpg"), str(folder)])]
    assert names == ["a.jpg", "a_2.jpg", "a_3.jpg", "b.PNG", "c.mp4", "sub/a.jpg"]


def test_bad_inputs_are_named(folder):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        find_media([str(folder / "nowhere")])
    with pytest.raises(ValueError, match=r"notes\.txt is neither an image"):
        find_media([str(folder / "notes.txt")])
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images or videos in folder .*empty"):
        find_media([str(folder / "empty")])


def test_video_round_trip(tmp_path):
    pytest.importorskip("cv2", reason="videos need OpenCV")
    path = str(tmp_path / "clip.mp4")
    sink = VideoSink(path, 10.0)
    try:
        for level in (0, 100, 200):
            sink.write(np.dstack([np.full((48, 64), value, np.uint8) for value in (level, 0, 0)]))
    except ValueError as error:
        pytest.skip(f"this OpenCV has no mp4 encoder: {error}")
    sink.close()
    frames = list(read_video(path))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert [frame[..., 0].mean() for frame in frames] == pytest.approx([0, 100, 200], abs=12)
    assert max(frame[..., 2].mean() for frame in frames) < 15  # red stays red
    assert video_fps(path) == pytest.approx(10)


def test_a_video_that_is_none_is_named(folder):
    pytest.importorskip("cv2", reason="videos need OpenCV")
    with pytest.raises(ValueError, match=r"cannot read the video .*c\.mp4"):
        next(read_video(str(folder / "c.mp4")))


def test_video_without_opencv(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ImportError, match="videos need OpenCV: pip install"):
        next(read_video(str(folder / "c.mp4")))


def test_image_names_do_not_depend_on_the_content(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    assert find_media([str(tmp_path / "x.png")])[0].name == "x.png"


def test_the_first_of_several_pages_is_read_and_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", Counter())
    pages = [Image.new("L", (4, 3), value) for value in (10, 200)]
    for name in ("a.gif", "b.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with caplog.at_level(logging.WARNING):
        assert all(ImageReader()(tmp_path / name).max() == 10 for name in ("a.gif", "b.tif", "a.gif"))
    assert len(caplog.records) == 1
    assert "a.gif has several pages or frames" in caplog.text


def test_formats_are_a_closed_list(tmp_path):
    for file_format in ("ICO", "TGA", "PCX"):
        Image.new("RGB", (32, 32)).save(tmp_path / "a.png", format=file_format)
        with pytest.raises(UnidentifiedImageError):
            ImageReader()(tmp_path / "a.png")
    for file_format, suffixes in FORMATS.items():
        Image.new("RGB", (32, 32), (255, 255, 255)).save(tmp_path / "a", format=file_format)
        assert ImageReader()(tmp_path / "a").min() == 255
        assert set(suffixes) <= set(IMAGE_SUFFIXES)


def test_the_limit_on_pixels_is_a_switch(tmp_path, monkeypatch):
    Image.new("1", (100, 50)).save(tmp_path / "a.png")
    with pytest.raises(Image.DecompressionBombError, match=r"100 x 50 pixels, more than .*mapper\.max_pixels=4999"):
        ImageReader(max_pixels=4999)(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError, match=r"set dataloader\.{train,test}\.mapper\.max_pixels"):
        ImageReader()(tmp_path / "a.png")
    assert ImageReader(max_pixels=5000)(tmp_path / "a.png").shape == (50, 100, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize("settings", [{"exif": "auto"}, {"pixel_range": [2, 1]}, {"max_pixels": 0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ImageReader(**settings)


def test_a_mapper_and_its_config_have_one_reader():
    settings = {"exif": "match", "pixel_range": [0, 4095], "max_pixels": 10**9}
    mapper = DetrDatasetMapper(is_train=False, augmentations=[], **settings)
    assert reader_of(mapper) == reader_of(settings) == reader_of(OmegaConf.create(settings)) == ImageReader(**settings)
    assert reader_of(print) == reader_of(None) == reader_of({"is_train": True}) == ImageReader()


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_what_is_no_file_is_not_opened(tmp_path, name):
    """A named pipe would be waited for."""
    os.mkfifo(tmp_path / name)
    os.symlink("/dev/zero", tmp_path / f"zero_{name}")
    os.symlink(tmp_path / f"loop_{name}", tmp_path / f"loop_{name}")
    with pytest.raises(FileNotFoundError, match="no images or videos in folder"):
        find_media([str(tmp_path)])
    for path in (name, f"zero_{name}"):
        with pytest.raises(ValueError, match=f"{path} is no file"):
            find_media([str(tmp_path / path)])
