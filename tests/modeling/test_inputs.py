"""What a detector does to its input images, and which inputs it refuses."""

import pytest
import torch

from tests.models import make_inputs, tiny_detector


def test_images_are_normalised_by_channel_and_padded_with_zeros() -> None:
    detector = tiny_detector(pixel_mean=[10.0, 20.0, 30.0], pixel_std=[1.0, 2.0, 4.0])
    images = [torch.full((3, 2, 3), 40, dtype=torch.uint8), torch.full((3, 4, 2), 40, dtype=torch.uint8)]
    tensor = detector.preprocess([{"image": image} for image in images]).tensor
    assert tensor.shape == (2, 3, 4, 3)
    assert tensor[0, :, 0, 0].tolist() == [30.0, 10.0, 2.5]
    assert not tensor[0, :, 2:].any()
    assert not tensor[1, :, :, 2:].any()


def test_images_are_laid_out_for_convolutions_where_no_backward_pass_on_a_cpu_follows() -> None:
    detector, inputs = tiny_detector().eval(), make_inputs([(64, 96)])
    plain = detector.preprocess(inputs).tensor
    (wanted,) = detector(inputs)
    with torch.no_grad():
        laid_out = detector.preprocess(inputs).tensor
        (found,) = detector(inputs)
    assert plain.is_contiguous()
    assert laid_out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, laid_out)
    torch.testing.assert_close(found["instances"].scores, wanted["instances"].scores, atol=1e-5, rtol=1e-5)


def test_images_that_the_detector_cannot_take() -> None:
    detector = tiny_detector().eval()
    with pytest.raises(ValueError, match="empty batch"):
        detector([])
    with pytest.raises(ValueError, match=r"grey\.png: 'image' must have shape \(3, H, W\) in RGB order, found \(1"):
        detector([{"image": torch.zeros(1, 8, 8), "file_name": "grey.png"}])


def test_bad_inputs_name_the_image() -> None:
    detector = tiny_detector().train()
    inputs = make_inputs([(96, 128)])
    with pytest.raises(ValueError, match=r"image0\.jpg: training needs 'instances'"):
        detector(inputs)
    inputs = make_inputs([(96, 128)], [2])
    inputs[0]["instances"].gt_classes[1] = 5
    with pytest.raises(ValueError, match=r"but the model has 5 classes: set model\.num_classes"):
        detector(inputs)
    inputs = make_inputs([(96, 128)], [2])
    inputs[0]["instances"].gt_boxes.tensor[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"image0\.jpg: a box of the annotations is not finite"):
        detector(inputs)
