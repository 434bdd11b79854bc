"""The 16-bit type of the config."""

import pytest
import torch
from omegaconf import OmegaConf

from querydet.engine.precision import amp_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def choose(dtype, device, enabled=True):
    return amp_dtype(OmegaConf.create({"enabled": enabled, "dtype": dtype}), device)


def test_single_precision_unless_enabled_whatever_the_type():
    assert choose("float16", CPU, enabled=False) is None
    assert choose("nonsense", GPU, enabled=False) is None


def test_each_device_has_its_types():
    assert choose("bfloat16", CPU) is choose("bfloat16", GPU) is torch.bfloat16
    assert choose("float16", GPU) is torch.float16
    with pytest.raises(ValueError, match=r"float16 needs a GPU: use train\.amp\.dtype=bfloat16"):
        choose("float16", CPU)


@pytest.mark.parametrize("dtype", ["float32", "half", None])
def test_other_types_are_refused(dtype):
    with pytest.raises(ValueError, match="has to be one of bfloat16, float16"):
        choose(dtype, GPU)
