import torch

from querydet.fusion.autocast import InLowerPrecision


def test_a_function_computes_in_the_lower_type_only_within_its_call():
    product = InLowerPrecision(lambda values, scale: values @ values * scale, "cpu", torch.bfloat16)
    assert product(torch.eye(3), scale=2).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
