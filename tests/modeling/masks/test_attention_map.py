"""Masks from attention maps: the released numbers, padding, sizes, initial weights, refusals."""

import pytest
import torch

from querydet.modeling.masks import AttentionMapHead
from querydet.modeling.masks.attention_map import AttentionMaps
from tests.modeling.masks.scenes import DIM, attention_map_head, features, hidden_states


def maps_with_identity(heads: int, width: int) -> AttentionMaps:
    maps = AttentionMaps(width, heads)
    with torch.no_grad():
        for linear in (maps.query, maps.key):
            linear.weight.copy_(torch.eye(width))
            linear.bias.zero_()
    return maps


def test_numbers_of_the_released_attention_maps() -> None:
    hidden = torch.tensor([[[1.0, 0, 2, -1]]])
    memory = torch.tensor([[1, 0, 0.5, 0], [2, 1, 0, 1]]).T.view(1, 4, 1, 2)
    with torch.no_grad():
        found = maps_with_identity(2, 4)(hidden, memory, torch.zeros(1, 1, 2, dtype=torch.bool))
    wanted = torch.tensor([[[0.234124, 0.474831]], [[0.234124, 0.056920]]])
    torch.testing.assert_close(found[0, 0], wanted, atol=1e-6, rtol=0)


@torch.no_grad()
def test_padding_has_no_weight_and_all_heads_share_one_sum() -> None:
    padding = torch.zeros(2, 3, 4, dtype=torch.bool)
    padding[1, :, 2:] = True
    found = AttentionMaps(DIM, 8)(hidden_states(2, 5), torch.randn(2, DIM, 3, 4), padding)
    assert found.shape == (2, 5, 8, 3, 4)
    torch.testing.assert_close(found.sum((2, 3, 4)), torch.ones(2, 5))
    assert not found[1, :, :, :, 2:].any()


MAPS = {"res5": 12, "res4": 10, "res3": 8}


def wide(**options: object) -> AttentionMapHead:
    """Three maps need a width of 128."""
    return AttentionMapHead(in_channels=MAPS, embed_dim=128, num_heads=8, **options)


@pytest.mark.parametrize(("halve", "stride"), [(True, 64), (False, 32)])
@pytest.mark.parametrize("size", [(64, 64), (100, 130), (200, 77)])
@torch.no_grad()
def test_stride_of_masks_with_one_map(halve: bool, stride: int, size: tuple[int, int]) -> None:
    head = attention_map_head(halve=halve, level=-1 if halve else 2)
    found = head(features([size])).of_batch(hidden_states(1, 2))
    assert found.shape[2:] == (-(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("source", ["projected", "encoded"])
@torch.no_grad()
def test_the_map_beside_the_attention_maps(source: str) -> None:
    made, hidden = features([(128, 128)]), hidden_states(1, 2)
    head = attention_map_head(source=source)
    before = head(made).of_batch(hidden)
    made.neck.tokens.add_(1.0)
    assert torch.equal(head(made).of_batch(hidden), before) == (source == "encoded")


def test_weights_of_the_released_shapes() -> None:
    """Parameters of the authors' head: 131,584 of attention, 1,202,073 of convolutions, 24,774,400 of projections."""
    head = AttentionMapHead(in_channels={"res5": 2048, "res4": 1024, "res3": 512})
    count = {name: sum(p.numel() for p in child.parameters()) for name, child in head.named_children()}
    assert count["attention"] == 131_584
    assert sum(count[name] for name in ("coarse_stages", "fine_stages", "adapters", "output")) == 1_202_073
    assert count["halvings"] == 24_774_400
    own = AttentionMapHead(in_channels={"res4": 1024, "res3": 512, "res2": 256}, level=2, halve=False)
    assert len(own.halvings) == 0


def test_initial_weights() -> None:
    head = AttentionMapHead(in_channels={"res5": 12}, embed_dim=64)
    conv = head.coarse_stages[0].conv
    bound = (3 / (72 * 9)) ** 0.5  # kaiming uniform with a=1
    assert bound * 0.99 < conv.weight.abs().max() <= bound
    assert not conv.bias.any()
    assert not head.attention.key.bias.any()
    assert head.halvings[0].bias.any()  # torch's default, as in the released code


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"source must be one of .*'raw'"):
        AttentionMapHead(in_channels=MAPS, source="raw")
    with pytest.raises(ValueError, match="multiple of 8 for the group norm: take a wider embed_dim, fewer maps"):
        AttentionMapHead(in_channels=MAPS, embed_dim=64)
    with pytest.raises(ValueError, match="num_heads=8"):
        AttentionMapHead(in_channels=MAPS, embed_dim=256, num_heads=4)
    with pytest.raises(ValueError, match="embed_dim"):
        AttentionMaps(30, 8)


def test_three_maps() -> None:
    assert len(wide().fine_stages) == len(wide().adapters) == 3
