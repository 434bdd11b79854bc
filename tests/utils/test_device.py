"""The device that a config names."""

import pytest
import torch

from querydet.utils.device import resolve_device


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_a_gpu_is_refused() -> None:
    assert resolve_device("auto") == torch.device("cpu")
    assert resolve_device("meta") == torch.device("meta")
    with pytest.raises(ValueError, match="no GPU is visible"):
        resolve_device("cuda")
