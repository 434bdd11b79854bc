import torch

from querydet.modeling.layers.padding import BlankPadding


def test_the_padding_becomes_zero_also_where_it_is_not_finite():
    maps, tokens = torch.full((1, 3, 2, 2), torch.nan), torch.ones(2, 4, 3)
    padding = torch.tensor([[[False, True], [False, False]]])
    assert BlankPadding(1)(maps, padding).isnan().sum() == 9
    blank = BlankPadding(2)(tokens, torch.tensor([[True, False, False, True], [False] * 4]))
    assert blank.sum((1, 2)).tolist() == [6, 12]


def test_values_without_padding_are_not_copied():
    tokens, padding = torch.ones(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool)
    assert BlankPadding(2)(tokens, padding) is tokens
