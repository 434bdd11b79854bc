"""Which files are run, under which names, and videos there and back."""

import numpy as np
import pytest
from PIL import Image

from querydet.data.media import VideoSink, find_media, read_video, video_fps


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
