"""Positional queries from boxes."""

import torch

from querydet.modeling.decoder import BoxPosition, ScaledBoxPosition


def test_content_scales_positions_from_the_second_layer_on() -> None:
    torch.manual_seed(0)
    scaled, plain = ScaledBoxPosition(embed_dim=16), BoxPosition(embed_dim=16)
    plain.mlp.load_state_dict(scaled.mlp.state_dict())
    boxes, content, ratios = torch.rand(2, 3, 4), torch.randn(2, 3, 16), torch.rand(2, 2)
    base = plain(boxes, ratios, content, 0)
    assert torch.equal(scaled(boxes, ratios, content, 0), base)
    for layer in (1, 5):
        torch.testing.assert_close(scaled(boxes, ratios, content, layer), base * scaled.scale(content))
