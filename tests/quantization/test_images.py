"""Calibration takes images that are spread over all that there are, as a prediction gets them."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from querydet.quantization.images import CalibrationImages, spread


class Reader:
    """Reads and resizes as a predictor does."""

    def read(self, path):
        return np.asarray(Image.open(path))

    def read_record(self, record):
        return np.full((4, 4, 3), record["value"], np.uint8)

    def prepare(self, image):
        return {"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}


@pytest.mark.parametrize(
    ("count", "wanted", "places"), [(10, 3, [0, 3, 6]), (3, 10, [0, 1, 2]), (4, 4, [0, 1, 2, 3]), (0, 5, [])]
)
def test_places(count, wanted, places):
    assert spread(count, wanted) == places


def test_images_of_the_training_data():
    config = OmegaConf.create({"dataloader": {"train": {"dataset": {"_target_": f"{__name__}.make_records"}}}})
    images = CalibrationImages(Reader(), config, (), 4)
    assert len(images) == 4
    assert [int(batch[0]["image"].flatten()[0]) for batch in images] == [0, 2, 5, 7]


def make_records():
    return [{"value": index} for index in range(10)]


def test_images_of_a_folder(tmp_path):
    for index in range(3):
        Image.new("RGB", (5, 7), (index, 0, 0)).save(tmp_path / f"{index}.png")
    images = CalibrationImages(Reader(), OmegaConf.create({"dataloader": {}}), [str(tmp_path)], 10)
    assert [batch[0]["image"].shape for batch in images] == [(3, 7, 5)] * 3


def test_without_images():
    with pytest.raises(ValueError, match="--data"):
        CalibrationImages(Reader(), OmegaConf.create({"dataloader": {}}), (), 4)
