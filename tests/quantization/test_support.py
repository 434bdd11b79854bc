"""What 8-bit detectors need of the machine is named where it is missing."""

import pytest
import torch

from querydet.quantization import support


def test_a_processor_without_vnni(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(ValueError, match=r"model\.pth.*cannot run here.*(VNNI|oneDNN)"):
        support.check_support("model.pth")


def test_a_torch_without_the_operators(monkeypatch):
    monkeypatch.setattr(support, "OPERATORS", ("qlinear_of_the_future",))
    with pytest.raises(ValueError, match=r"qlinear_of_the_future|oneDNN"):
        support.check_support("model.pth")


@pytest.mark.parametrize("has", [True, False])
def test_numbers_are_bfloat16_where_the_processor_computes_in_it(monkeypatch, has):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    assert support.float_type() == (torch.bfloat16 if has else torch.float32)
