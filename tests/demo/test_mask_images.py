"""Masks as pictures for the page: where they are, what they show, and how large they may become."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from querydet.demo.mask_images import MOST_BYTES, MOST_PIXELS, mask_image
from querydet.visualization.cropped_masks import CroppedMask, crop

RED = (1.0, 0.0, 0.0)


def decoded(entry):
    """The picture, RGBA."""
    kind, _, content = entry["picture"].partition(",")
    assert kind == "data:image/png;base64"
    data = base64.b64decode(content, validate=True)
    assert len(data) <= MOST_BYTES
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_a_small_mask_is_exact():
    mask = np.random.default_rng(0).random((60, 80)) < 0.7
    mask[:20], mask[:, 70:] = False, False
    entry = mask_image(crop(mask), mask.shape, RED)
    picture = decoded(entry)
    whole = np.zeros(mask.shape, dtype=bool)
    whole[entry["y"] : entry["y"] + entry["height"], entry["x"] : entry["x"] + entry["width"]] = picture[..., 3] > 0
    assert np.array_equal(whole, mask)
    assert (picture[picture[..., 3] > 0][:, :3] == [255, 0, 0]).all()


def test_the_outline_is_opaque_and_the_rest_translucent():
    picture = decoded(mask_image(CroppedMask(0, 0, np.ones((50, 50), bool)), (400, 300), RED))
    assert picture[0, 20, 3] == picture[20, 49, 3] == 255
    assert 64 < picture[20, 20, 3] < 192


def test_a_large_mask_is_sent_coarser_and_fine_lines_stay():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[:, 2000] = mask[1500] = mask[0, 0] = mask[-1, -1] = True
    entry = mask_image(crop(mask), mask.shape, RED)
    assert (entry["x"], entry["y"], entry["width"], entry["height"]) == (0, 0, 4000, 3000)
    picture = decoded(entry)
    assert MOST_PIXELS / 2 < max(picture.shape) <= MOST_PIXELS
    assert picture[:, picture.shape[1] // 2, 3].all()
    assert picture[picture.shape[0] // 2, :, 3].all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (700, 1000), (3000, 4000)])
def test_no_mask_is_large_however_ragged(size):
    mask = np.random.default_rng(0).random(size) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    picture = decoded(mask_image(crop(mask), size, RED))
    assert picture[..., 3].any()
