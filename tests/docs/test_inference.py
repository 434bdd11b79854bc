"""The worked example of docs/inference.md: a fused form of a part of one's own."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from querydet.fusion import PackedLayers, exchange_modules
from querydet.fusion.rules import RULES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "inference.md").read_text()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_a_part_of_ones_own_gets_a_fused_form(monkeypatch):
    monkeypatch.setattr("querydet.fusion.rules.RULES", rules := dict(RULES))
    (source,) = re.findall(r"```python\n# fused_gate.py\n(.*?)```", TEXT, re.DOTALL)
    scope = {}
    exec(source, scope)
    model, values = nn.Sequential(scope["Gate"](8)), torch.randn(3, 8)
    with torch.inference_mode():
        expected = model(values)
        fused = exchange_modules(model, PackedLayers(), rules)
        torch.testing.assert_close(fused(values), expected)
    assert isinstance(fused[0], scope["FusedGate"])
