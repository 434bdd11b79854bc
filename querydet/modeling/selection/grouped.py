"""Group DETR: several groups of queries in training, each trained like the primary one (arXiv 2207.13085, section 3).

G groups share the decoder and its heads. Each has its own queries, attends to itself, is matched one to one, and has
1/G of the loss (equation 7). Inference builds the primary group only, so that groups cost nothing there. In two-stage
models every group selects its queries by a proposal head of its own, as in the later code of the authors and of Baidu;
the paper does not mention it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from querydet.modeling.layers.stack import redrawn
from querydet.modeling.selection.topk import copy_contents
from querydet.modeling.selection.wrapper import SelectionWrapper
from querydet.parts import ProposalSelection, Selection, SharedGroups
from querydet.structures import PRIMARY, InitialQueries, QueryGroup, TokenPyramid
from querydet.traits import trait

SOURCES = ("per_set", "shared", "ranked")


def group_name(index: int) -> str:
    """Return the name of a group; index 0 is the primary one."""
    return PRIMARY if index == 0 else f"group{index}"


def check_num_groups(num_groups: int) -> None:
    """Raise ValueError unless the number of groups is a whole number, at least one."""
    if not isinstance(num_groups, int) or num_groups < 1:
        raise ValueError(
            f"num_groups must be at least 1, which is the primary group, and a whole number; found {num_groups!r}"
        )


class GroupedSelection(SelectionWrapper):
    """G groups of any selection in training; the primary one at inference.

    A selection that fulfils `querydet.parts.SharedGroups` decides which weights its groups share. Of any other
    selection, each further group is a copy with newly drawn weights (`querydet.modeling.layers.stack.redrawn`).

    Args:
        selection: selection of the primary group.
        num_groups: G, counting the primary group; 11 in the paper, where more do not help (figure 9).
        source: origin of the further groups. "per_set": each selects with weights of its own. For a selection from
            proposals also "shared": all groups start from the same boxes and have learned contents of their own; and
            "ranked": group g starts from ranks g*Q to (g+1)*Q of one selection.
        separate: whether groups do not see each other. False: the joint self-attention of table 7, a comparison of the
            paper, where the primary group is trained among all queries and runs without the others at inference.

    Raises:
        ValueError: for an unknown source, less than one group, a source that the selection does not have, or groups
            that would be identical.
    """

    def __init__(
        self, *, selection: Selection, num_groups: int = 11, source: str = "per_set", separate: bool = True
    ) -> None:
        super().__init__(selection)
        check_num_groups(num_groups)
        _check_source(selection, source)
        weights = _group_weights(selection, num_groups - 1, source)
        self.num_groups, self.source, self.separate = num_groups, source, separate
        self.training_only = tuple(weights)
        for name, modules in weights.items():
            self.add_module(name, modules)

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Return the primary group; in training, followed by the others.

        Raises:
            ValueError: the selection makes several groups already, or the images have too few tokens.
        """
        if not training:
            return self.selection(memory, training)
        groups = self._select_groups(memory)
        return tuple(self._as_group(queries, index) for index, queries in enumerate(groups))

    def _select_groups(self, memory: TokenPyramid) -> tuple[InitialQueries, ...]:
        if self.source != "per_set":
            return self._from_one_selection(memory)
        weights = {name: self.get_submodule(name) for name in self.training_only}
        if isinstance(self.selection, SharedGroups):
            return self.selection.select_groups(memory, weights)
        groups = self.selection(memory, True)
        for member in weights["extra_groups"].children():
            groups += member(memory, True)
        if len(groups) != self.num_groups:
            raise ValueError(
                f"{type(self.selection).__name__} makes {len(groups) // self.num_groups} groups itself, and groups of "
                "groups are not supported: group a selection that makes one"
            )
        return groups

    def _from_one_selection(self, memory: TokenPyramid) -> tuple[InitialQueries, ...]:
        selection, num_queries = self.selection, self.num_queries
        assert isinstance(selection, ProposalSelection)
        proposals = selection.propose(memory)
        if self.source == "ranked":
            slices = selection.select(proposals, self.num_groups * num_queries).split(num_queries, dim=1)
        else:
            slices = (selection.select(proposals, num_queries),) * self.num_groups
        contents: list[nn.Module | None] = list(self.get_submodule("extra_contents").children())
        extra = contents or [None] * (self.num_groups - 1)
        group = QueryGroup(PRIMARY, 0, num_queries)
        supervised = [selection.supervised(proposals, slices[0])] + [None] * len(extra)
        return tuple(
            selection.make_queries(proposals, index, content, group, predictions)
            for index, content, predictions in zip(slices, [selection.content, *extra], supervised, strict=True)
        )

    def _as_group(self, queries: InitialQueries, index: int) -> InitialQueries:
        others = () if self.separate else range(self.num_groups)
        group = replace(
            queries.group,
            name=group_name(index),
            visible_groups=tuple(group_name(other) for other in others if other != index),
            loss_divisor=queries.group.loss_divisor * self.num_groups,
        )
        predictions = queries.predictions
        if predictions is not None and self.source == "per_set":  # each group has some
            predictions = replace(predictions, loss_divisor=predictions.loss_divisor * self.num_groups)
        return replace(queries, group=group, predictions=predictions)


def _check_source(selection: Selection, source: str) -> None:
    if source not in SOURCES:
        raise ValueError(f"source must be one of {SOURCES}, found {source!r}")
    if source != "per_set" and not isinstance(selection, ProposalSelection):
        raise ValueError(
            f"source={source!r} takes groups from one set of proposals, and {type(selection).__name__} makes none: "
            "set source='per_set', or select from proposals (TopKSelection)"
        )
    if source == "shared" and not trait(selection, "learned_content"):
        raise ValueError(
            "source='shared' gives all groups the same boxes, and without a learned content nothing would tell the "
            "groups apart: set content to a LearnedContent, or source='per_set'"
        )


def _group_weights(selection: Selection, count: int, source: str) -> Mapping[str, nn.Module]:
    """Make the weights that further groups do not share, by their name in a checkpoint."""
    if source != "per_set":
        assert isinstance(selection, ProposalSelection)
        return {"extra_contents": copy_contents(selection.content, count)}
    if isinstance(selection, SharedGroups):
        return selection.group_weights(count)
    copies = (redrawn(selection) for _ in range(count)) if isinstance(selection, nn.Module) else ()
    groups = nn.ModuleList(copies)
    if count and not _differ([selection, *groups]):
        raise ValueError(
            f"all groups of {type(selection).__name__} would be equal: the copies of a selection differ in newly drawn "
            "weights, and it draws none. Give it a method `reset_parameters` that draws its weights, or `another` that "
            "makes a new selection"
        )
    return {"extra_groups": groups}


def _differ(selections: Sequence[object]) -> bool:
    """Return whether there is a weight that is different in the selections, or that has no values yet (meta device)."""
    weights = zip(*(part.parameters() for part in selections if isinstance(part, nn.Module)), strict=True)
    return any(first.is_meta or not torch.equal(first, other) for first, *others in weights for other in others)
