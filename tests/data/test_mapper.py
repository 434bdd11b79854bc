"""Mapped samples: boxes follow the pixels, nothing invalid remains, bad files are named or skipped."""

import copy
import errno
import logging
import os

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.utils.file_io import PathManager
from omegaconf import ListConfig
from PIL import Image

from querydet.data import BadImageError, DetrDatasetMapper, load_coco
from querydet.data.media import ImageReader
from querydet.evaluation import ArrayPredictor
from querydet.inference.pictures import read_picture


@pytest.fixture
def dataset(write_coco, coco_json):
    return load_coco(*write_coco(coco_json))


def train_mapper(*augmentations, **options):
    return DetrDatasetMapper(is_train=True, augmentations=augmentations, **options)


def test_train_sample(dataset):
    sample = train_mapper()(dataset[0])
    assert sample["image"].shape == (3, 30, 40)
    assert sample["image"].dtype == torch.uint8
    assert (sample["height"], sample["width"], sample["image_id"]) == (30, 40, 7)
    assert sample["file_name"] == dataset[0]["file_name"]
    assert sample["instances"].gt_boxes.tensor.tolist() == [[1, 2, 11, 22]]  # the crowd region is gone
    assert sample["instances"].gt_classes.tolist() == [2]
    assert sample["instances"].image_size == (30, 40)


def test_boxes_follow_a_resize_and_a_flip(dataset):
    sample = train_mapper(T.Resize((60, 80)), T.RandomFlip(prob=1.0))(dataset[0])
    assert sample["instances"].gt_boxes.tensor.tolist() == [[80 - 22, 4, 80 - 2, 44]]
    assert (sample["height"], sample["width"]) == (30, 40)


def test_boxes_are_clipped_to_a_crop_and_dropped_outside(dataset):
    record = copy.deepcopy(dataset[0])
    record["annotations"][1].update(iscrowd=0, bbox=[30, 20, 5, 5])
    sample = train_mapper(T.CropTransform(5, 5, 10, 10))(record)
    assert sample["instances"].gt_boxes.tensor.tolist() == [[0, 0, 6, 10]]


def test_a_box_that_only_touches_the_crop_is_dropped(dataset):
    sample = train_mapper(T.CropTransform(11, 0, 10, 10))(dataset[0])  # the box ends at x = 11
    assert len(sample["instances"]) == 0


def test_an_image_without_objects_has_empty_fields(dataset):
    for mapper in (train_mapper(), train_mapper(T.CropTransform(30, 25, 5, 5))):
        sample = mapper(dataset[2] if not mapper._augmentations.augs else dataset[0])
        assert len(sample["instances"]) == 0
        assert sample["instances"].gt_boxes.tensor.shape == (0, 4)
        assert sample["instances"].gt_classes.dtype == torch.int64


def test_a_record_without_annotations_is_an_image_without_objects(dataset):
    record = {key: value for key, value in dataset[0].items() if key != "annotations"}
    assert len(train_mapper()(record)["instances"]) == 0


def test_the_record_is_not_changed(dataset):
    before = copy.deepcopy(dataset[0])
    train_mapper(T.Resize((60, 80)), T.RandomFlip(prob=1.0))(dataset[0])
    assert dataset[0] == before


def test_test_sample_has_no_annotations(dataset):
    sample = DetrDatasetMapper(is_train=False, augmentations=[T.Resize((60, 80))])(dataset[0])
    assert set(sample) == {"image", "height", "width", "image_id", "file_name"}
    assert sample["image"].shape == (3, 60, 80)


def test_image_format_is_the_channel_order(dataset):
    rgb, bgr = (train_mapper(image_format=order)(dataset[0])["image"] for order in ("RGB", "BGR"))
    assert torch.equal(rgb, bgr.flip(0))
    assert np.array_equal(rgb.permute(1, 2, 0).numpy(), np.asarray(Image.open(dataset[0]["file_name"])))


def test_augmentations_may_be_a_config_list(dataset):
    augmentations = ListConfig([T.Resize((60, 80))], flags={"allow_objects": True})
    assert DetrDatasetMapper(is_train=True, augmentations=augmentations)(dataset[0])["image"].shape == (3, 60, 80)


def truncate(path):
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)


def empty(path):
    open(path, "w").close()


def text(path):
    with open(path, "w") as file:
        file.write("no image at all")


def other_size(path):
    Image.new("RGB", (41, 30)).save(path)


def bomb(path):
    Image.new("1", (20_000, 20_000)).save(path)


BAD = [
    (truncate, "OSError|SyntaxError"),
    (empty, "UnidentifiedImageError"),
    (text, "UnidentifiedImageError"),
    (os.remove, "FileNotFoundError"),
    (other_size, r"SizeMismatchError: Mismatched image shape .*\(41, 30\), expect \(40, 30\)"),
    (bomb, "DecompressionBombError"),
]


@pytest.mark.parametrize(("damage", "reason"), BAD)
def test_a_bad_image_is_named_with_the_reason(dataset, damage, reason):
    damage(dataset[0]["file_name"])
    with pytest.raises(BadImageError, match=rf"a\.png cannot be used: ({reason})"):
        train_mapper()(dataset[0])


@pytest.mark.parametrize("damage", [damage for damage, _ in BAD])
def test_a_bad_image_is_skipped_counted_and_logged_once(dataset, damage, caplog):
    damage(dataset[0]["file_name"])
    mapper = train_mapper(on_bad_image="skip")
    with caplog.at_level(logging.WARNING):
        assert mapper(dataset[0]) is None
        assert mapper(dataset[0]) is None
    assert mapper(dataset[1]) is not None
    assert mapper.bad_images == {dataset[0]["file_name"]: 2}
    assert len(caplog.records) == 1
    assert "a.png" in caplog.text


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_every_pixel_format_becomes_three_channels(dataset, mode, tmp_path):
    path = str(tmp_path / ("x.tif" if mode == "CMYK" else "x.png"))
    Image.new(mode, (40, 30)).save(path)
    assert train_mapper()({**dataset[0], "file_name": path})["image"].shape == (3, 30, 40)


def test_exif_rotation_is_applied(dataset, tmp_path):
    path = str(tmp_path / "rotated.jpg")
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 40)).save(path, exif=exif)
    assert train_mapper()({**dataset[0], "file_name": path})["image"].shape == (3, 30, 40)


def test_unknown_policy():
    with pytest.raises(ValueError, match=r"on_bad_image must be one of \('raise', 'skip'\), got 'ignore'"):
        train_mapper(on_bad_image="ignore")


def test_storage_that_fails_for_a_moment_is_asked_again(dataset, monkeypatch):
    monkeypatch.setattr("querydet.data.mapper.FIRST_WAIT", 0.01)
    failures = [OSError(errno.EIO, "Input/output error"), OSError(errno.ESTALE, "Stale file handle")]
    read = PathManager.open

    def fail_first(*arguments, **options):
        if failures:
            raise failures.pop()
        return read(*arguments, **options)

    monkeypatch.setattr(PathManager, "open", fail_first)
    assert train_mapper()(dataset[0]) is not None
    failures += [OSError(errno.EIO, "Input/output error")] * 3
    with pytest.raises(BadImageError, match=r"a\.png cannot be used: OSError: .*Input/output error"):
        train_mapper()(dataset[0])
    assert not failures


def test_of_an_image_with_too_many_objects_some_are_drawn(dataset):
    annotation = dataset[0]["annotations"][0]
    record = {**dataset[0], "annotations": [{**annotation, "bbox": [k % 30, 1, 5, 6]} for k in range(5000)]}
    assert len(train_mapper()(record)["instances"]) == 1000
    mapper = train_mapper(max_objects=3)
    drawn = []
    for seed in (0, 0, 1):
        np.random.seed(seed)  # noqa: NPY002
        drawn.append(mapper(record)["instances"].gt_boxes.tensor)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len(train_mapper(max_objects=None)(record)["instances"]) == 5000
    with pytest.raises(ValueError, match="max_objects must be at least 1 or None, got 0"):
        train_mapper(max_objects=0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_training_testing_and_prediction_read_the_same_pixels(dataset, tmp_path, orientation, channels):
    path = str(tmp_path / "turned.png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path, exif=exif)
    for rule in ("apply", "ignore"):
        reader = ImageReader(exif=rule)
        predictor = ArrayPredictor(model=print, augmentations=[], image_format=channels)
        expected = predictor.prepare(read_picture(path, reader))["image"]
        height, width = expected.shape[1:]
        record = {**dataset[0], "file_name": path, "height": height, "width": width}
        for is_train in (True, False):
            mapper = DetrDatasetMapper(is_train=is_train, augmentations=[], image_format=channels, exif=rule)
            assert torch.equal(mapper(record)["image"], expected)


def test_swapped_sides_name_the_switch(dataset, tmp_path):
    path = str(tmp_path / "turned.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    record = {**dataset[0], "file_name": path}  # annotated as it is stored
    with pytest.raises(BadImageError, match=r"set dataloader\.{train,test}\.mapper\.exif=match, or =ignore"):
        train_mapper()(record)
    for rule in ("match", "ignore"):
        assert train_mapper(exif=rule)(record)["image"].shape == (3, 30, 40)


def test_16_bits_are_neither_white_nor_black(dataset, tmp_path):
    path = str(tmp_path / "deep.png")
    values = np.linspace(0, 65535, 1200).reshape(30, 40).astype(np.uint16)
    Image.fromarray(values).save(path)
    image = train_mapper()({**dataset[0], "file_name": path})["image"]
    assert len(image.unique()) == 256
    Image.fromarray(values // 16).save(path)
    assert len(train_mapper(pixel_range=[0, 4095])({**dataset[0], "file_name": path})["image"].unique()) == 256
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "integers.tif")
    with pytest.raises(BadImageError, match=r"PixelFormatError: mode I.*pixel_range"):
        train_mapper()({**dataset[0], "file_name": str(tmp_path / "integers.tif")})


def test_the_order_of_channels_is_checked():
    with pytest.raises(ValueError, match="image_format must be one of"):
        train_mapper(image_format="GRB")


@pytest.mark.parametrize("retries", [-1, 11, 10**9])
def test_retries_end(retries):
    """Each waits twice as long as the one before."""
    with pytest.raises(ValueError, match=f"read_retries must be from 0 to 10, got {retries}"):
        DetrDatasetMapper(is_train=False, augmentations=[], read_retries=retries)
