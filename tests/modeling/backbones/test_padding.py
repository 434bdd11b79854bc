"""Which sizes backbones are given."""

import pytest
import torch
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.structures import ImageList
from torch import Tensor, nn

from querydet.analysis.attention_memory import attention_memory
from querydet.modeling.backbones import batch_images, pad_batch, padded_size, padding_rule
from querydet.modeling.backbones.padding import PaddingRule
from tests.modeling.backbones.small import small_backbone, small_detector
from tests.models import make_inputs, tiny_detector


class Declaring(Backbone):
    """Declares what it is given."""

    def __init__(self, divisor: int, **constraints: int) -> None:
        super().__init__()
        self.divisor, self.constraints = divisor, constraints

    @property
    def size_divisibility(self) -> int:
        return self.divisor

    @property
    def padding_constraints(self) -> dict[str, int]:
        return self.constraints

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"map": images}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"map": ShapeSpec(channels=3, stride=1)}


def small(name: str, **overrides: object) -> nn.Module:
    return instantiate(small_backbone(name, **overrides)[0])


@pytest.mark.parametrize(
    ("backbone", "rule"),
    [
        (Declaring(0), PaddingRule()),
        (Declaring(16), PaddingRule(16)),
        (Declaring(16, size_divisibility=8), PaddingRule(8)),
        (Declaring(0, size_divisiblity=8, square_size=0), PaddingRule(8)),
        (Declaring(4, square_size=64), PaddingRule(4, 64)),
        (nn.Identity(), PaddingRule()),
    ],
)
def test_both_declarations_count_in_both_spellings(backbone: nn.Module, rule: PaddingRule) -> None:
    assert padding_rule(backbone) == rule


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("resnet", PaddingRule()),
        ("resnet_fpn", PaddingRule(32)),
        ("swin", PaddingRule()),
        ("vit", PaddingRule(32)),
        ("mvit", PaddingRule()),
    ],
)
def test_the_rules_of_detectron2s_backbones(name: str, rule: PaddingRule) -> None:
    assert padding_rule(small(name)) == rule


def test_a_transformer_without_a_pyramid_gets_whole_patches() -> None:
    assert padding_rule(small("vit").net) == PaddingRule(16)


def test_sizes_by_hand() -> None:
    assert padded_size(Declaring(0), 97, 131) == (97, 131)
    assert padded_size(Declaring(32), 97, 131) == (128, 160)
    assert padded_size(Declaring(32), 96, 160) == (96, 160)
    assert padded_size(Declaring(32, square_size=200), 97, 131) == (224, 224)
    for size in ((0, 131), (97, -1)):
        with pytest.raises(ValueError, match=rf"positive size, found height {size[0]} and width {size[1]}"):
            padded_size(Declaring(32), *size)


@pytest.mark.parametrize("constraints", [{}, {"square_size": 0}, {"square_size": 160}, {"size_divisibility": 24}])
@pytest.mark.parametrize("divisor", [0, 1, 32])
def test_a_batch_is_the_one_of_detectron2s_detectors(divisor: int, constraints: dict[str, int]) -> None:
    backbone = Declaring(divisor, **constraints)
    images = [torch.rand(3, 97, 131), torch.rand(3, 101, 75)]
    for batch in (images, images[:1]):
        wanted = ImageList.from_tensors(batch, backbone.size_divisibility, padding_constraints=constraints)
        found = batch_images(batch, backbone)
        assert torch.equal(found.tensor, wanted.tensor)
        assert found.image_sizes == wanted.image_sizes
        height, width = (max(each.shape[dim] for each in batch) for dim in (1, 2))
        assert found.tensor.shape[-2:] == padded_size(backbone, height, width)
        assert torch.equal(pad_batch(batch_images(batch, nn.Identity()).tensor, backbone), wanted.tensor)


def test_without_a_declaration_a_batch_is_padded_to_its_largest_height_and_width() -> None:
    images = tiny_detector().preprocess(make_inputs([(97, 131), (101, 75)]))
    assert images.tensor.shape == (2, 3, 101, 131)
    batch = torch.rand(1, 3, 5, 7)
    assert pad_batch(batch, nn.Identity()) is batch


def test_an_image_larger_than_the_square_is_refused() -> None:
    detector = small_detector("vit", square_pad=128).eval()
    assert detector.preprocess(make_inputs([(97, 80)])).tensor.shape[-2:] == (128, 128)
    for batch in ([(97, 131)], [(97, 80), (131, 97)]):
        with pytest.raises(ValueError, match=r"131.*does not fit into the square of 128.*square_pad=0"):
            detector.preprocess(make_inputs(batch))
    with pytest.raises(ValueError, match="does not fit into the square"):
        pad_batch(torch.rand(1, 3, 97, 131), detector.backbone)


def test_the_memory_of_dense_attention_is_that_of_the_padded_image() -> None:
    detector = small_detector("vit", "detr", ["p3"])
    assert attention_memory(detector, 97, 131, 1) == attention_memory(detector, 128, 160, 1)
    assert attention_memory(detector, 97, 131, 1).tokens == 16 * 20


class Around(Declaring):
    """A pyramid around a network."""

    def __init__(self, net: nn.Module, divisor: int, **constraints: int) -> None:
        super().__init__(divisor, **constraints)
        self.net = net


def test_a_network_inside_of_a_pyramid_has_a_say() -> None:
    assert padding_rule(Around(Declaring(14), 4)) == PaddingRule(28)
    assert padding_rule(Around(Declaring(1, square_size=160), 32)) == PaddingRule(32, 160)
    assert padding_rule(Around(Declaring(0), 32, square_size=160)) == PaddingRule(32, 160)
    with pytest.raises(ValueError, match=r"to a square of 160, and the network in it \(net\) to one of 96"):
        padding_rule(Around(Declaring(1, square_size=96), 32, square_size=160))
