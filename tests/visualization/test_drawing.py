"""Pictures show what they should: checked on pixels, and that drawing has no side effects."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances
from PIL import Image

from querydet.data import DetrDatasetMapper, load_synthetic
from querydet.visualization import (
    Panel,
    draw_batch,
    draw_instances,
    draw_predictions,
    instances_of_record,
    save_grid,
)
from querydet.visualization.drawing import class_color
from querydet.visualization.grids import _make_figure as make_figure

GREY = np.full((120, 160, 3), 128, np.uint8)


def predictions(boxes, scores, classes, size=(120, 160)):
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(scores)
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    return instances


def test_small_images_are_enlarged_by_a_whole_factor():
    assert draw_instances(GREY, predictions([], [], []), []).shape == (480, 640, 3)
    assert draw_instances(np.zeros((700, 900, 3), np.uint8), predictions([], [], []), []).shape == (700, 900, 3)


def test_a_narrow_strip_is_enlarged_less():
    strip = np.zeros((20, 3000, 3), np.uint8)
    assert draw_instances(strip, instances_of_record({"height": 20, "width": 3000}), []).shape == strip.shape


def test_a_box_is_drawn_on_its_border_in_its_class_colour():
    drawn = draw_instances(GREY, predictions([[40, 30, 120, 90]], [0.9], [1]), ["a", "b"]).astype(int)
    color = np.array(class_color(1)) * 255 / 2 + 128 / 2  # Detectron2 draws borders half transparent
    for y, x in ((60, 40), (60, 120), (90, 100), (30, 100)):
        patch = drawn[4 * y - 6 : 4 * y + 6, 4 * x - 6 : 4 * x + 6]
        assert np.abs(patch - color).sum(axis=2).min() < 20
    assert np.abs(drawn[4 * 45 : 4 * 75, 4 * 60 : 4 * 100] - 128).max() < 3  # nothing inside
    assert np.abs(drawn[: 4 * 20] - 128).max() < 3  # nothing outside


def test_colours_of_classes_differ():
    colors = np.array([class_color(index) for index in range(20)])
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2) + np.eye(20)
    assert distances.min() > 0.05


def test_labels_beyond_the_names_and_boxes_beyond_the_image_are_drawn():
    drawn = draw_instances(GREY, predictions([[-50, -50, 500, 500]], [0.5], [7]), ["only one"])
    assert np.abs(drawn.astype(int) - 128).max() > 50


def test_drawing_leaves_the_global_generators_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_instances(GREY, predictions([[40, 30, 120, 90]], [0.9], [1]), ["a", "b"])
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_record_to_instances():
    record = {
        "height": 50,
        "width": 60,
        "annotations": [
            {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 5, "iscrowd": 0},
            {"bbox": [0, 0, 9, 9], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 1},
        ],
    }
    instances = instances_of_record(record)
    assert instances.gt_boxes.tensor.tolist() == [[1, 2, 4, 6]]
    assert instances.gt_classes.tolist() == [5]
    assert len(instances_of_record({**record, "annotations": []})) == 0


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
