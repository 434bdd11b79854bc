"""The layout of images is channels last but where a backward pass on a CPU follows."""

import torch

from querydet.modeling.backbones import image_layout


def test_training_on_a_cpu_keeps_the_contiguous_layout() -> None:
    cpu = torch.device("cpu")
    assert image_layout(cpu) is torch.contiguous_format
    with torch.no_grad():
        assert image_layout(cpu) is torch.channels_last
    assert image_layout(torch.device("cuda")) is torch.channels_last
