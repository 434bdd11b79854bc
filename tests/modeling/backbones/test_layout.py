"""The layout of images is channels last but where a backward pass in float32 on a CPU follows."""

import pytest
import torch

from querydet.modeling.backbones import image_layout

CPU = torch.device("cpu")


def test_training_on_a_cpu_keeps_the_contiguous_layout() -> None:
    assert image_layout(CPU) is torch.contiguous_format
    with torch.no_grad():
        assert image_layout(CPU) is torch.channels_last
    assert image_layout(torch.device("cuda")) is torch.channels_last


@pytest.mark.parametrize(
    ("dtype", "processor", "expected"),
    [
        (torch.bfloat16, "AVX512", torch.channels_last),
        (torch.bfloat16, "AVX2", torch.contiguous_format),
        (torch.float16, "AVX512", torch.contiguous_format),
    ],
)
def test_training_in_bfloat16_has_the_layout_that_its_convolutions_take(monkeypatch, dtype, processor, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    with torch.autocast("cpu", dtype):
        assert image_layout(CPU) is expected
