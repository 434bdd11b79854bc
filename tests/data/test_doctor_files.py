"""What the doctor says of image files is what training makes of them."""

import numpy as np
import pytest
from PIL import Image

from querydet.data import BadImageError, DetrDatasetMapper, load_coco
from querydet.data.diagnosis import CHANGES, NOTE, STOPS, Treatment
from querydet.data.doctor import examine
from querydet.data.media import ImageReader
from tests.data.sick import save, write


def findings(folder, images, **options):
    found = examine(write(folder, images, []), str(folder), Treatment(**options))
    return {kind: (each.gravity, each.places) for kind, each in found.findings.items()}


def save_turned(path, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(path, exif=exif, seed=orientation, **options)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("exif", ["apply", "ignore", "match"])
@pytest.mark.parametrize("size", [(40, 30), (30, 40)])
def test_every_orientation_is_counted_and_its_size_is_that_of_training(tmp_path, suffix, orientation, exif, size):
    save_turned(tmp_path / f"a.{suffix}", orientation)
    images = [(f"a.{suffix}", *size)]
    found = findings(tmp_path, images, reader=ImageReader(exif=exif))
    assert found["EXIF orientation"] == (NOTE, [f"a.{suffix} (orientation {orientation})"])
    (record,) = load_coco(str(tmp_path / "data.json"), str(tmp_path))
    mapper = DetrDatasetMapper(is_train=True, augmentations=[], exif=exif)
    if "image has another size than annotated" in found:
        with pytest.raises(BadImageError, match="SizeMismatchError"):
            mapper(record)
    else:
        assert mapper(record)["image"].shape == (3, *size[::-1])


def test_what_the_size_does_not_tell_is_doubtful_beside_others_that_are_not_turned(tmp_path):
    for orientation in (6, 3, 2):
        save_turned(tmp_path / f"{orientation}.jpg", orientation)
    images = [(f"{orientation}.jpg", 40, 30) for orientation in (6, 3, 2)]
    kind = "EXIF orientation that others of the set ignore"
    for exif, gravity in (("apply", STOPS), ("match", None)):
        found = findings(tmp_path, images, reader=ImageReader(exif=exif))
        assert found[kind] == (CHANGES, ["3.jpg", "2.jpg"])
        assert found.get("image has another size than annotated", [None])[0] == gravity
    assert kind not in findings(tmp_path, images, reader=ImageReader(exif="ignore"))
    assert kind not in findings(tmp_path, images[1:])


def test_deep_images_pages_and_transparency_are_said(tmp_path):
    values = np.arange(1200).reshape(30, 40)
    Image.fromarray((values * 50).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "dark.png")
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "integers.tif")
    pages = [Image.new("L", (40, 30), value) for value in (10, 200)]
    for name in ("moving.gif", "pages.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    Image.new("RGBA", (40, 30), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    names = ["deep.png", "dark.png", "integers.tif", "moving.gif", "pages.tif", "clear.png"]
    found = findings(tmp_path, [(name, 40, 30) for name in names])
    assert found["image of more than 8 bits"] == (
        NOTE,
        ["deep.png (mode I;16)", "dark.png (mode I;16)", "integers.tif (mode I)"],
    )
    assert found["image of more than 8 bits that is nearly black"] == (CHANGES, ["dark.png"])
    assert found["file of several pages or frames"] == (NOTE, ["moving.gif", "pages.tif"])
    assert found["image with transparency"] == (NOTE, ["clear.png"])
    gravity, (place,) = found["image file cannot be read"]
    assert gravity == STOPS
    assert place.startswith("integers.tif (PixelFormatError: mode I")
    ranged = findings(tmp_path, [(name, 40, 30) for name in names], reader=ImageReader(pixel_range=[0, 1199]))
    assert not {"image file cannot be read", "image of more than 8 bits that is nearly black"} & ranged.keys()


def test_too_many_pixels_are_named_with_the_switch(tmp_path):
    save(tmp_path / "a.png")
    found = findings(tmp_path, [("a.png", 40, 30)], reader=ImageReader(max_pixels=1000))
    assert "mapper.max_pixels" in found["image file cannot be read"][1][0]
