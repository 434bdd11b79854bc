"""H-DETR: an extra group of queries that is trained one to many (arXiv 2207.13080, section 3.2, hybrid branch scheme).

The extra group shares the decoder and its heads with the primary group, and attends to itself. It is matched with
several copies of each object, so that several of its queries learn to find it. Inference builds the primary group only.
"""

from torch import nn

from querydet.modeling.selection.wrapper import SelectionWrapper
from querydet.parts import ProposalSelection, Selection
from querydet.structures import PRIMARY, InitialQueries, QueryGroup, TokenPyramid
from querydet.traits import trait


class HybridSelection(SelectionWrapper):
    """The best proposals for the primary group; in training, the next best for an extra one.

    Where the encoder's predictions of selected tokens are supervised, they are those of the primary group.

    Args:
        selection: selection of the primary group, from proposals.
        extra_queries: number of queries of the extra group; 1500 in the paper. 0: there is none.
        extra_content: makes the content of the extra group; None: that of the primary group does, unless it is a
            learned table.
        repeats: R, the number of copies of each object that the extra group is matched with; 6 in the paper. Divides
            its losses.
        extra_weight: factor of the losses of the extra group; the paper's lambda, 1.

    Raises:
        ValueError: when a number is out of its range, a learned table has another number of rows than there are
            queries, or the selection is not one from proposals.
    """

    training_only = ("extra_content",)

    def __init__(
        self,
        *,
        selection: Selection,
        extra_queries: int = 1500,
        extra_content: nn.Module | None = None,
        repeats: int = 6,
        extra_weight: float = 1.0,
    ) -> None:
        if not isinstance(selection, ProposalSelection):
            raise ValueError(
                f"HybridSelection takes the next best proposals, which {type(selection).__name__} does not make: "
                "give it a selection from proposals (TopKSelection)"
            )
        super().__init__(selection)
        if extra_queries < 0 or repeats < 1 or extra_weight < 0:
            raise ValueError(
                "extra_queries and extra_weight must not be negative, and repeats be at least 1; found "
                f"{extra_queries}, {extra_weight} and {repeats}"
            )
        rows = trait(extra_content, "num_rows") or 0
        if rows != extra_queries and (trait(selection, "learned_content") or rows):
            raise ValueError(f"extra_content has {rows} rows for extra_queries={extra_queries}")
        self.extra_queries = extra_queries
        self.extra_content = extra_content
        self.target_repeats = repeats
        self.extra_weight = extra_weight

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Return the primary group; in training, followed by the extra one.

        Raises:
            ValueError: when the images have fewer tokens than there are queries in both groups.
        """
        if not training or self.extra_queries == 0:
            return self.selection(memory, training)
        selection = self.selection
        assert isinstance(selection, ProposalSelection)
        proposals = selection.propose(memory)
        index = selection.select(proposals, self.num_queries + self.extra_queries)
        best, next_best = index.split([self.num_queries, self.extra_queries], dim=1)
        primary = QueryGroup(PRIMARY, 0, self.num_queries)
        extra = QueryGroup(
            name="hybrid",
            start=0,
            stop=self.extra_queries,
            target_repeats=self.target_repeats,
            loss_divisor=self.target_repeats,
            loss_weight=self.extra_weight,
            loss_suffix="hybrid",
        )
        content = selection.content if self.extra_content is None else self.extra_content
        supervised = selection.supervised(proposals, best)
        return (
            selection.make_queries(proposals, best, selection.content, primary, supervised),
            selection.make_queries(proposals, next_best, content, extra, None),
        )
