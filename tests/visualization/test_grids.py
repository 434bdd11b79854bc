"""Several pictures on one page."""

import numpy as np
import pytest
import torch
from PIL import Image

from querydet.data import DetrDatasetMapper, load_synthetic
from querydet.data.catalog import class_names
from querydet.visualization import (
    Panel,
    batch_panels,
    draw_batch,
    draw_predictions,
    prediction_panels,
    save_grid,
)
from querydet.visualization.grids import _make_figure as make_figure
from tests.masked import WithMasks
from tests.visualization.instances import GREY, predictions


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_synthetic(str(tmp_path_factory.mktemp("shapes")), "val", num_images=6, image_size=64)


def test_ground_truth_beside_predictions(dataset, tmp_path):
    class Nothing(torch.nn.Module):
        seen = ()

        def forward(self, batch):
            assert not self.training
            self.seen = (*self.seen, *(item["image_id"] for item in batch))
            return [{"instances": predictions([], [], [], (64, 64))} for _ in batch]

    model = Nothing().train()
    path = tmp_path / "new" / "grid.png"
    mapper = DetrDatasetMapper(is_train=False, augmentations=[])
    draw_predictions(model, dataset, mapper, str(path), num_images=3)
    assert model.seen == (1, 3, 5)  # spread over the data
    assert model.training
    width, height = Image.open(path).size
    assert width > 2 * height * 0.9  # two rows of four


def test_panels_have_the_masks_of_annotations_samples_and_predictions(tmp_path):
    records, without = (
        load_synthetic(str(tmp_path / name), "train", num_images=2, image_size=64, masks=name == "masks")
        for name in ("masks", "boxes")
    )
    names = class_names(records)
    mapper = DetrDatasetMapper(is_train=True, augmentations=[])
    with_masks = batch_panels([mapper(record) for record in records], names)
    plain = batch_panels([mapper(record) for record in without], names)
    test_mapper = DetrDatasetMapper(is_train=False, augmentations=[])

    class Masked(torch.nn.Module):
        num_classes = 1

        def forward(self, batch):
            return [{"instances": predictions([[10, 10, 50, 50]], [0.9], [0], (64, 64))} for _ in batch]

    shown = prediction_panels(WithMasks(Masked()), without, names, test_mapper, 0.3)
    truth = prediction_panels(
        Masked(), [record for record in records if record["annotations"]], names, test_mapper, 0.3
    )
    assert len(with_masks) == len(plain) > 0
    for one, other in zip(with_masks, plain, strict=True):
        assert (one.image != other.image).any(axis=2).mean() > 0.005
    for both, other, sample in zip(truth[::2], shown[::2], with_masks, strict=True):
        assert (both.image != other.image).any(axis=2).mean() > 0.005
        assert np.array_equal(both.image, sample.image)  # an annotation looks like a sample that is not augmented
    for one, other in zip(shown[1::2], truth[1::2], strict=True):
        assert (one.image != other.image).any(axis=2).mean() > 0.1


def test_images_that_the_mapper_skips_are_left_out(dataset, tmp_path):
    with pytest.raises(ValueError, match="at least one panel"):
        draw_predictions(torch.nn.Identity(), dataset, lambda record: None, str(tmp_path / "x.png"))


def test_batch_picture(dataset, tmp_path):
    mapper = DetrDatasetMapper(is_train=True, augmentations=[], image_format="BGR")
    draw_batch([mapper(record) for record in dataset], ["x"] * 6, str(tmp_path / "batch.png"), "BGR")
    assert Image.open(tmp_path / "batch.png").size[0] > 1000


@pytest.mark.parametrize("panels", [1, 2, 5])
@pytest.mark.parametrize("count", [2, 11, 40])
def test_the_whole_legend_is_on_the_page_and_below_the_panels(panels, count):
    legend = {f"group{number}": (1.0, 1.0, 1.0) for number in range(count)}
    figure = make_figure([Panel(GREY, "one")] * panels, 4, legend)
    figure.draw_without_rendering()
    box, page = figure.legends[0].get_window_extent(), figure.bbox
    assert box.x0 >= 0
    assert box.x1 <= page.x1
    assert box.y0 >= 0
    assert box.y1 <= min(axes.get_window_extent().y0 for axes in figure.axes)
    for patch in figure.legends[0].get_patches():
        assert patch.get_edgecolor()[:3] != (1.0, 1.0, 1.0)  # white is seen on white by its edge


def test_grid_takes_panels_of_different_sizes(tmp_path):
    panels = [Panel(GREY, "wide"), Panel(GREY.transpose(1, 0, 2), "high")]
    save_grid(panels, str(tmp_path / "grid.png"))
    assert Image.open(tmp_path / "grid.png").size[0] > 500
