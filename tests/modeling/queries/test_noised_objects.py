"""What all kinds of denoising share: drawing noise, and clipping boxes."""

from dataclasses import replace

import pytest
import torch

from querydet.modeling.boxes import inverse_sigmoid
from querydet.modeling.queries import ContrastiveDenoising, Denoising
from querydet.modeling.queries.noised_objects import keep_off_the_border
from tests.models import make_targets


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_boxes_are_clipped_as_by_logit_space_and_back(eps: float) -> None:
    boxes = torch.cat([torch.rand(1000, 4, dtype=torch.float64) * 1.2 - 0.1, torch.tensor([[0.0, 1.0, 1e-4, 0.9999]])])
    torch.testing.assert_close(keep_off_the_border(boxes, eps), inverse_sigmoid(boxes, eps).sigmoid())


@pytest.mark.parametrize("length", range(1, 70))
def test_clipping_a_box_gives_the_same_bits_wherever_it_stands(length: int) -> None:
    boxes = torch.rand(length, 4)
    alone = torch.cat([keep_off_the_border(box[None], 1e-3) for box in boxes])
    assert torch.equal(keep_off_the_border(boxes, 1e-3), alone)


@pytest.mark.parametrize("denoising", [ContrastiveDenoising(num_classes=5, embed_dim=8), Denoising(num_classes=5)])
@pytest.mark.parametrize("counts", [[3, 2], [1, 7, 4], [5, 11]])
def test_the_noise_of_an_image_has_the_same_bits_wherever_it_stands(denoising, counts: list[int]) -> None:
    targets = make_targets(counts)
    reversed_fields = {key: getattr(targets, key)[::-1] for key in ("labels", "boxes", "names", "seeds")}
    (here,), (there,) = denoising(targets), denoising(replace(targets, **reversed_fields))
    assert torch.equal(here.boxes, there.boxes.flip(0))
    assert torch.equal(here.content, there.content.flip(0))
