"""Frozen norms inside of convolutions: the same numbers, names and gradients, with fewer passes."""

import copy
import pickle

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d, get_norm
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from querydet.modeling.backbones.folding import FoldedConv2d, fold_frozen_norms


def make_network(norm: str = "FrozenBN", bias: bool = False, **options: int) -> nn.Sequential:
    """Two convolutions, whose norms have random constants."""
    torch.manual_seed(0)
    convolutions = [
        Conv2d(4, 6, 3, bias=bias, norm=get_norm(norm, 6), activation=F.relu, **options),
        Conv2d(6, 4, 1, bias=bias, norm=get_norm(norm, 4)),
    ]
    for convolution in convolutions:
        for values in convolution.norm.state_dict().values():
            if values.is_floating_point():
                values.uniform_(0.5, 2)
    return nn.Sequential(*convolutions).double()


def gradients(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad()
    network(images).square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"dilation": 2}, {"groups": 2}], ids=str)
def test_results_and_gradients_are_those_of_separate_norms(bias, options):
    separate = make_network(bias=bias, **options)
    folded = fold_frozen_norms(copy.deepcopy(separate))
    images = torch.randn(2, 4, 9, 11, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(folded(images), separate(images))
    torch.testing.assert_close(gradients(folded, images), gradients(separate, images))
    first, second = (torch.autograd.grad(network(images).square().sum(), images)[0] for network in (separate, folded))
    torch.testing.assert_close(first, second)


def test_names_and_values_stay():
    separate = make_network()
    folded = fold_frozen_norms(copy.deepcopy(separate))
    assert all(isinstance(module, FoldedConv2d) for module in folded)
    assert {name: id(value) for name, value in folded.named_buffers()} == {
        name: id(value) for name, value in fold_frozen_norms(folded).named_buffers()
    }
    torch.testing.assert_close(folded.state_dict(), separate.state_dict(), rtol=0, atol=0)


def test_constants_are_read_at_every_call():
    folded, images = fold_frozen_norms(make_network()), torch.randn(1, 4, 5, 5, dtype=torch.float64)
    other = make_network()
    for values in other.state_dict().values():
        values.mul_(1.5)
    folded.load_state_dict(other.state_dict())
    torch.testing.assert_close(folded(images), other(images))


@pytest.mark.parametrize("norm", ["BN", "GN", ""])
def test_other_norms_are_left_alone(norm):
    network = nn.Sequential(Conv2d(4, 32, 1, norm=get_norm(norm, 32)))
    assert type(fold_frozen_norms(network)[0]) is Conv2d


def test_a_norm_that_is_exchanged_later_is_applied():
    separate = FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d(make_network())
    folded = FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d(fold_frozen_norms(make_network()))
    images = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(folded(images), separate(images), rtol=0, atol=0)  # by the statistics of the batch
    torch.testing.assert_close(folded.state_dict(), separate.state_dict(), rtol=0, atol=0)


def test_derived_convolutions_keep_their_own_way():
    class Doubled(Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    module = Doubled(4, 4, 1, norm=get_norm("FrozenBN", 4))
    assert type(fold_frozen_norms(nn.Sequential(module))[0]) is Doubled


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_is_folded_too_and_has_its_own_weights(copied):
    folded, images = fold_frozen_norms(make_network()), torch.randn(1, 4, 5, 5, dtype=torch.float64)
    other, before = copied(folded), folded(images)
    with torch.no_grad():
        other[0].weight.zero_()
    assert not torch.equal(other(images), before)
    torch.testing.assert_close(folded(images), before, rtol=0, atol=0)


def test_no_operator_but_convolutions_and_activations_goes_through_a_map():
    class Passes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dim() == 4 and result.shape[-1] > 3:
                names.append(function.overloadpacket.__name__)
            return result

    names: list[str] = []
    images = torch.randn(1, 4, 32, 32, dtype=torch.float64)
    with Passes(), torch.no_grad():
        fold_frozen_norms(make_network())(images)
    assert names == ["convolution", "relu", "convolution"]


def test_exports_and_compiles():
    folded, images = fold_frozen_norms(make_network()).eval(), torch.randn(1, 4, 6, 6, dtype=torch.float64)
    exported = torch.export.export(folded, (images,)).module()
    torch.testing.assert_close(exported(images), folded(images))
    compiled = torch.compile(folded, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), folded(images))


def test_sixteen_bit_weights_and_autocast():
    folded, images = fold_frozen_norms(make_network()), torch.randn(1, 4, 6, 6)
    expected = folded(images.double()).float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = folded.float()(images)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), expected, rtol=0.05, atol=0.1)
    assert folded.bfloat16()(images.bfloat16()).dtype == torch.bfloat16
