"""Denoising queries for every group of matching queries (Group DETR, arXiv 2207.13085)."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from querydet.modeling.queries.contrastive_denoising import ContrastiveDenoising
from querydet.modeling.queries.denoising import Denoising
from querydet.modeling.selection.grouped import check_num_groups, group_name
from querydet.structures import InitialQueries, Targets


class GroupedDenoising(nn.Module):
    """Denoising queries for every group of matching queries, each with a label table and noise of its own.

    Baidu's Group DETR with DINO. A plain denoising part instead makes them for the primary group alone.

    Args:
        denoising: makes those of the primary group; those of the others are made by parts like it, with label tables
            drawn anew.
        num_groups: K, that of the selection.

    Raises:
        ValueError: for less than one group.
    """

    def __init__(self, *, denoising: ContrastiveDenoising | Denoising, num_groups: int = 11) -> None:
        super().__init__()
        check_num_groups(num_groups)
        self.members = nn.ModuleList([denoising] + [_redrawn(denoising) for _ in range(num_groups - 1)])

    @property
    def num_groups(self) -> int:
        """K."""
        return len(self.members)

    @property
    def num_classes(self) -> int:
        """Classes that labels are drawn from."""
        return self.members[0].num_classes  # type: ignore[return-value]

    @property
    def embed_dim(self) -> int:
        """Width C."""
        return self.members[0].embed_dim  # type: ignore[return-value]

    @property
    def indicator(self) -> bool:
        """Whether the last channel of the content tells denoising from matching queries."""
        return getattr(self.members[0], "indicator", False)

    def forward(self, targets: Targets) -> tuple[InitialQueries, ...]:
        """Make the denoising queries of a batch, for each group in turn.

        The noise of the primary group is that of the plain part; the seeds of the others follow from the image's.
        """
        made = []
        for number, member in enumerate(self.members):
            (queries,) = member(replace(targets, seeds=group_seeds(targets.seeds, number)))
            group = replace(
                queries.group,
                name=f"{group_name(number)} {queries.group.name}" if number else queries.group.name,
                visible_groups=(group_name(number),),
                loss_divisor=queries.group.loss_divisor * self.num_groups,
            )
            made.append(replace(queries, group=group))
        return tuple(made)


def _redrawn(denoising: nn.Module) -> nn.Module:
    copied = copy.deepcopy(denoising)
    for module in copied.modules():
        if isinstance(module, nn.Embedding):
            module.reset_parameters()
    return copied


def group_seeds(seeds: Sequence[int | None], number: int) -> tuple[int | None, ...]:
    """Seeds of the images' noise in group ``number``: independent of each other, fixed by the images' own seeds."""
    if number == 0:
        return tuple(seeds)
    return tuple(
        None if seed is None else int(np.random.SeedSequence([seed % 2**64, number]).generate_state(1, np.uint64)[0])
        for seed in seeds
    )
