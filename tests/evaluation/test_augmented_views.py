"""Views of an image, and the boxes of all of them in its own pixels."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from querydet.evaluation import NMSEnsemble, OneToOneEnsemble, TestTimeAugmentation
from tests.models import make_inputs, tiny_detector


class BrightBox(torch.nn.Module):
    """Finds the bright pixels of an image and says where they are in pixels of ``height`` and ``width``."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch):
        (inputs,) = batch
        image = inputs["image"]
        self.seen.append(tuple(image.shape[-2:]))
        rows, columns = (image[0] > 128).nonzero(as_tuple=True)
        x, y = inputs["width"] / image.shape[2], inputs["height"] / image.shape[1]
        box = [columns.min() * x, rows.min() * y, (columns.max() + 1) * x, (rows.max() + 1) * y]
        found = Instances((inputs["height"], inputs["width"]), pred_boxes=Boxes(torch.tensor([box])))
        found.scores, found.pred_classes = torch.tensor([0.5]), torch.tensor([0])
        return [{"instances": found}]


@pytest.mark.parametrize("ensemble", [OneToOneEnsemble(), NMSEnsemble()])
def test_boxes_of_all_views_are_in_pixels_of_the_file(ensemble):
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[:, 8:24, 8:40] = 255
    model = BrightBox()
    augmented = TestTimeAugmentation(model, scales=[0.5, 2], flip=True, ensemble=ensemble).eval()
    inputs = {"image": image, "height": 400, "width": 800}
    (output,) = augmented([inputs])
    assert output["instances"].pred_boxes.tensor.tolist() == [pytest.approx([80, 80, 400, 240])]
    assert output["instances"].image_size == (400, 800)
    assert model.seen == [(40, 80)] * 2 + [(20, 40)] * 2 + [(80, 160)] * 2
    assert inputs["image"] is image
    assert "image_id" not in inputs
    (plain,) = TestTimeAugmentation(BrightBox()).eval()([{"image": image}])
    assert plain["instances"].pred_boxes.tensor.tolist() == [pytest.approx([8, 8, 40, 24])]


@pytest.mark.parametrize("name", ["dino", "deta"])
def test_one_view_is_the_model_itself(name):
    model = tiny_detector(name).eval()
    inputs = make_inputs([(64, 64)])
    ensemble = OneToOneEnsemble() if name == "dino" else None
    with torch.no_grad():
        (plain,) = model(inputs)
        (found,) = TestTimeAugmentation(model, flip=False, ensemble=ensemble).eval()(inputs)
    count = len(found["instances"])
    assert count
    assert torch.allclose(plain["instances"].scores[:count], found["instances"].scores)
    expected = plain["instances"].pred_boxes.tensor[:count]
    assert torch.allclose(expected, found["instances"].pred_boxes.tensor, atol=1e-4)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="scales must be positive"):
        TestTimeAugmentation(BrightBox(), scales=[0.5, 0])
    with pytest.raises(ValueError, match="evaluation alone"):
        TestTimeAugmentation(BrightBox()).train()([])


def test_larger_views_are_made_from_the_file_and_not_from_its_shrunken_copy(tmp_path):
    """A pattern of single pixels, which is lost in a copy of half the size, is there in a view of the full size."""
    checks = (np.indices((64, 96)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(np.stack([checks] * 3, -1)).save(tmp_path / "checks.png")
    small = torch.full((3, 32, 48), 127, dtype=torch.uint8)
    seen = []

    class Model(torch.nn.Module):
        input_format = "RGB"

        def forward(self, batch):
            seen.append(batch[0]["image"])
            found = Instances((64, 96), pred_boxes=Boxes(torch.tensor([[0.0, 0, 9, 9]])))
            found.scores, found.pred_classes = torch.tensor([0.5]), torch.tensor([0])
            return [{"instances": found}]

    augmented = TestTimeAugmentation(Model(), scales=[2], flip=True).eval()
    inputs = {"image": small, "height": 64, "width": 96, "file_name": str(tmp_path / "checks.png")}
    augmented([inputs])
    plain, flipped, large, large_flipped = seen
    assert torch.equal(plain, small)
    assert torch.equal(flipped, small)
    assert torch.equal(large, torch.from_numpy(checks).expand(3, 64, 96))
    assert torch.equal(large_flipped, large.flip(-1))
    for missing in ({"file_name": str(tmp_path / "no.png")}, {"height": 640, "width": 960}):
        seen.clear()
        augmented([{**inputs, **missing}])
        assert (seen[2] == 127).all()


def test_a_detector_with_masks_is_refused_at_its_first_view():
    class WithMasks(BrightBox):
        def forward(self, batch):
            (output,) = super().forward(batch)
            output["instances"].pred_masks = torch.ones(1, *output["instances"].image_size, dtype=torch.bool)
            return [output]

    model = WithMasks()
    image = torch.full((3, 40, 80), 255, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"no rule for masks.*train\.test_time_augmentation\.enabled=False"):
        TestTimeAugmentation(model, scales=[2]).eval()([{"image": image}])
    assert len(model.seen) == 1
