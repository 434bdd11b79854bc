"""A norm folded into a convolution gives what both give one after the other."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from querydet.fusion.folding import affine_of, fold


def random_norm(kind, channels, **options):
    norm = kind(channels, **options).eval()
    for name, tensor in norm.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + (0.5 if "var" in name else -0.5))
    return norm


@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize("bias", [True, False])
def test_folded_norms_change_nothing(kind, bias):
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=2, dilation=2, groups=2, bias=bias)
    norm, maps = random_norm(kind, 8, eps=1e-3), torch.randn(2, 6, 17, 13)
    folded = fold(conv, norm)
    found = F.conv2d(maps, folded.weight, folded.bias, folded.stride, folded.padding, folded.dilation, folded.groups)
    torch.testing.assert_close(found, norm(conv(maps)), rtol=1e-5, atol=1e-5)


def test_a_norm_without_weights_is_folded_too():
    norm, conv, maps = random_norm(nn.BatchNorm2d, 4, affine=False), nn.Conv2d(3, 4, 1), torch.randn(1, 3, 5, 5)
    folded = fold(conv, norm)
    torch.testing.assert_close(F.conv2d(maps, folded.weight, folded.bias), norm(conv(maps)), rtol=1e-5, atol=1e-5)


def test_statistics_of_the_batch_cannot_be_folded():
    assert affine_of(nn.BatchNorm2d(4, track_running_stats=False)) is None
    assert fold(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)) is None


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_padding_that_is_not_of_zeros_is_left_alone(options):
    assert fold(nn.Conv2d(3, 4, 3, **options)) is None
