"""A selection around another one: the same weights under the same names, and everything else its own."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.selection import LearnedBoxes
from querydet.modeling.selection.wrapper import SelectionWrapper
from querydet.structures import InitialQueries, TokenPyramid
from querydet.traits import trait
from tests.modeling.selection.test_learned import memory


class Around(SelectionWrapper):
    """Adds a child of its own, and nothing to the queries."""

    def __init__(self, selection: LearnedBoxes) -> None:
        super().__init__(selection)
        self.extra = nn.Linear(2, 2)

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        return self.selection(memory, training)


def make() -> tuple[LearnedBoxes, Around]:
    torch.manual_seed(0)
    selection = LearnedBoxes(num_queries=3, embed_dim=8, indicator=True)
    return selection, Around(selection)


def test_weights_keep_their_names() -> None:
    selection, wrapper = make()
    plain = LearnedBoxes(num_queries=3, embed_dim=8, indicator=True)
    assert set(wrapper.state_dict()) == {*plain.state_dict(), "extra.weight", "extra.bias"}
    assert plain.load_state_dict(wrapper.state_dict(), strict=False).missing_keys == []
    assert wrapper.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    assert torch.equal(selection.anchors.weight, plain.anchors.weight), "both read the same parameters"


def test_every_parameter_is_counted_once() -> None:
    _, wrapper = make()
    assert len(list(wrapper.parameters())) == 4


def test_members_and_traits_are_those_of_the_wrapped_one() -> None:
    selection, wrapper = make()
    assert (wrapper.num_queries, wrapper.reference_dim, wrapper.fixed_positions) == (3, 4, False)
    assert wrapper.embed_boxes(torch.rand(1, 2, 4)) is None
    assert trait(wrapper, "indicator") is True
    assert trait(wrapper, "num_classes") is None
    assert wrapper.anchors is selection.anchors
    with pytest.raises(AttributeError, match="nonsense"):
        _ = wrapper.nonsense


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_that_of_both(mode: bool) -> None:
    selection, wrapper = make()
    wrapper.train(not mode)
    wrapper.train(mode)
    assert [module.training for module in (wrapper, selection, selection.anchors, wrapper.extra)] == [mode] * 4


def test_conversions_reach_both() -> None:
    selection, wrapper = make()
    wrapper.double()
    assert selection.anchors.weight.dtype == wrapper.extra.weight.dtype == torch.float64
    (initial,) = wrapper(memory(2), False)
    assert initial.boxes.dtype == torch.float64


def by_pickle(wrapper: Around) -> Around:
    return pickle.loads(pickle.dumps(wrapper))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle])
def test_a_copy_is_a_pair_of_its_own(duplicate) -> None:
    selection, wrapper = make()
    copied = duplicate(wrapper)
    with torch.no_grad():
        copied.anchors.weight.fill_(1.0)
    assert copied.selection.anchors is copied.anchors
    assert not selection.anchors.weight.eq(1).any()
    assert copied.num_queries == 3


def test_a_wrapper_of_a_wrapper_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SelectionWrapper extends .* Around makes more; groups of groups are not"):
        SelectionWrapper(make()[1])


def test_buffers_are_shared_too() -> None:
    selection, wrapper = make()
    wrapper.register_buffer("seen", torch.zeros(1), persistent=False)
    assert selection.seen is wrapper.seen
    assert "seen" not in selection.state_dict()


class NoModule:
    """A selection of one's own that has no weights."""

    num_queries, reference_dim, fixed_positions, indicator = 2, 4, False, True

    def __call__(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        return ()

    forward = __call__

    def embed_boxes(self, boxes: Tensor) -> Tensor | None:
        return None


def test_what_is_wrapped_may_be_no_module() -> None:
    wrapper = SelectionWrapper(NoModule())
    wrapper.train(False)
    assert wrapper.num_queries == 2
    assert trait(wrapper, "indicator")
    assert not wrapper.state_dict()
