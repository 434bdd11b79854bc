"""Some tensors have values on the meta device."""

import torch

from querydet.utils.real_values import RealValues


def test_chosen_functions_make_values():
    with torch.device("meta"), RealValues(torch.arange):
        assert (torch.arange(3) * 2).tolist() == [0, 2, 4]
        assert torch.linspace(0, 1, 2).is_meta
        assert torch.arange(3, device="meta").is_meta
    assert torch.arange(3).device.type == "cpu"
