import pytest
import torch

from querydet.modeling.layers import SinePositionEmbedding
from querydet.modeling.neck import MultiScaleNeck, SingleMapNeck


def make(num_levels: int = 4, embed_dim: int = 32) -> MultiScaleNeck:
    torch.manual_seed(0)
    position = SinePositionEmbedding(embed_dim, temperature=20.0, offset=0.0)
    return MultiScaleNeck(
        in_channels={"a": 6, "b": 10}, num_levels=num_levels, position_embedding=position, embed_dim=embed_dim
    )


def features() -> dict[str, torch.Tensor]:
    return {"a": torch.randn(1, 6, 8, 12), "b": torch.randn(1, 10, 4, 6), "unused": torch.randn(1, 1, 1, 1)}


def test_levels_tokens_and_valid_ratios() -> None:
    padding = torch.zeros(1, 64, 96, dtype=torch.bool)
    padding[:, 48:] = True
    pyramid = make()(features(), padding)
    assert pyramid.shapes == ((8, 12), (4, 6), (2, 3), (1, 2))
    assert pyramid.tokens.shape == pyramid.position.shape == (1, 128, 32)
    # 48 of 64 rows; the one row of the last level is image, as its centre is nearest to a row of the image
    torch.testing.assert_close(pyramid.valid_ratios[0, :2], torch.tensor([[1.0, 0.75], [1.0, 0.75]]))
    assert int((~pyramid.padding).sum()) == 6 * 12 + 3 * 6 + int((~pyramid.padding[:, 120:]).sum())


def test_the_first_extra_level_reads_the_raw_backbone_map_and_the_next_one_the_level_before() -> None:
    neck, maps = make(), features()
    assert [projection.conv.in_channels for projection in neck.extra_projections] == [10, 32]
    neck.ignore_padding = False
    levels, _ = neck.project(maps, torch.zeros(1, 64, 96, dtype=torch.bool))
    torch.testing.assert_close(levels[2], neck.extra_projections[0](maps["b"]))
    torch.testing.assert_close(levels[3], neck.extra_projections[1](levels[2]))


def test_an_unknown_initialisation() -> None:
    embedding = SinePositionEmbedding(32, 20.0, 0.0)
    with pytest.raises(ValueError, match="conv_init must be 'xavier' or 'torch', found 'zeros'"):
        MultiScaleNeck(
            in_channels={"a": 6}, num_levels=1, position_embedding=embedding, embed_dim=32, conv_init="zeros"
        )


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="num_levels is 1, fewer than the 2 maps"):
        make(num_levels=1)
    with pytest.raises(ValueError, match="multiple of 32 for the group norm, found 48"):
        make(embed_dim=48)


def test_a_single_map_neck_takes_one_map() -> None:
    embedding = SinePositionEmbedding(32, 10000.0, 0.0)
    with pytest.raises(ValueError, match=r"takes one backbone map, found \['res4', 'res5'\]"):
        SingleMapNeck(in_channels={"res4": 8, "res5": 8}, position_embedding=embedding, embed_dim=32)
