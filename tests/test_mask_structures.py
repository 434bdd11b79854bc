"""What the data of masks computes by itself."""

import torch

from querydet.mask_structures import PairMasks


def test_values_of_images_are_put_into_the_order_of_the_pairs() -> None:
    pairs = PairMasks(None, None, (), (), (), order=torch.tensor([2, 0, 1]))  # type: ignore[arg-type]
    found = pairs.restore([torch.tensor([1.0, 2.0]), torch.tensor([3.0], requires_grad=True)])
    assert found.tolist() == [2, 3, 1]
    assert found.requires_grad
    empty = PairMasks(None, None, (), (), (), order=torch.zeros(0, dtype=torch.int64))  # type: ignore[arg-type]
    assert empty.restore([torch.zeros(0), torch.zeros(0)]).shape == (0,)
