import pytest
import torch
import torch.nn.functional as F

from querydet.modeling.layers import MultiHeadAttention, check_heads


@pytest.mark.parametrize(("embed_dim", "num_heads"), [(30, 4), (32, 0), (32, -4), (8, 16)])
def test_heads_divide_the_width(embed_dim: int, num_heads: int) -> None:
    message = f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}"
    with pytest.raises(ValueError, match=message):
        check_heads(embed_dim, num_heads)
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(embed_dim, num_heads)


def test_images_come_first_and_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    attention, values = MultiHeadAttention(8, 2), torch.randn(3, 5, 8)
    together = attention(values, values, values, need_weights=False)[0]
    for image in range(3):
        alone = values[image : image + 1]
        torch.testing.assert_close(together[image : image + 1], attention(alone, alone, alone)[0])


def test_attention_is_the_softmax_of_scaled_products_of_each_head() -> None:
    torch.manual_seed(0)
    attention, values = MultiHeadAttention(8, 2), torch.randn(1, 5, 8)
    query, key, value = F.linear(values[0], attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    mixed = [(query[:, head] @ key[:, head].T / 2).softmax(-1) @ value[:, head] for head in (slice(0, 4), slice(4, 8))]
    wanted = attention.out_proj(torch.cat(mixed, dim=-1))
    torch.testing.assert_close(attention(values, values, values)[0][0], wanted)
