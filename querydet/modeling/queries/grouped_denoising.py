"""Denoising queries for every group of matching queries (Group DETR, arXiv 2207.13085)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from querydet.modeling.layers.stack import stack_layers
from querydet.modeling.selection.grouped import check_num_groups, group_name
from querydet.parts import Denoising
from querydet.structures import InitialQueries, Targets
from querydet.traits import trait


class GroupedDenoising(nn.Module):
    """Denoising queries for every group of matching queries, each with a label table and noise of its own.

    As in Baidu's Group DETR with DINO. A plain denoising part makes them for the primary group only.

    Args:
        denoising: makes the denoising queries of the primary group; copies of it, with newly drawn label tables, make
            those of the others.
        num_groups: G, the number of groups of the selection.

    Raises:
        ValueError: for less than one group.
    """

    def __init__(self, *, denoising: Denoising, num_groups: int = 11) -> None:
        super().__init__()
        check_num_groups(num_groups)
        assert isinstance(denoising, nn.Module)
        self.members = stack_layers(denoising, num_groups)

    @property
    def num_groups(self) -> int:
        """G, the number of matching groups that have denoising queries."""
        return len(self.members)

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return self.members[0].num_classes  # type: ignore[return-value]

    @property
    def embed_dim(self) -> int | None:
        """C, the width of the queries."""
        return trait(self.members[0], "embed_dim")

    @property
    def indicator(self) -> bool:
        """True where the last channel of the content distinguishes denoising from matching queries."""
        return trait(self.members[0], "indicator")

    @property
    def contrastive(self) -> bool:
        """True where there are negative queries too."""
        return trait(self.members[0], "contrastive")

    def forward(self, targets: Targets) -> tuple[InitialQueries, ...]:
        """Make the denoising queries of a batch, for each group in turn.

        The noise of the primary group is that of the plain part; the seeds of the others are derived from the image's.
        """
        groups = []
        for index, member in enumerate(self.members):
            (queries,) = member(replace(targets, seeds=group_seeds(targets.seeds, index)))
            group = replace(
                queries.group,
                name=f"{group_name(index)} {queries.group.name}" if index else queries.group.name,
                visible_groups=(group_name(index),),
                loss_divisor=queries.group.loss_divisor * self.num_groups,
            )
            groups.append(replace(queries, group=group))
        return tuple(groups)


def group_seeds(seeds: Sequence[int | None], index: int) -> tuple[int | None, ...]:
    """Return the seeds of the noise of all images in a group: derived from the images' seeds, unrelated across groups.

    Args:
        seeds: of the images; None: the default generator.
        index: of the group; the primary group, 0, has the seeds of the images.
    """
    if index == 0:
        return tuple(seeds)
    return tuple(
        None if seed is None else int(np.random.SeedSequence([seed % 2**64, index]).generate_state(1, np.uint64)[0])
        for seed in seeds
    )
