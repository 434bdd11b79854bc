"""H-DETR: an extra group of queries that is trained one to many (arXiv 2207.13080, section 3.2, hybrid branch scheme).

The extra group shares the decoder and its heads with the primary one, and attends to itself alone. Each object is
offered to it several times, so that as many of its queries learn to find the object. Inference does without it.
"""

from typing import Any

from querydet.modeling.selection.content import LearnedContent
from querydet.modeling.selection.proposals import anchor_tokens
from querydet.modeling.selection.topk import TopKSelection
from querydet.structures import PRIMARY, InitialQueries, QueryGroup, TokenPyramid


class HybridTopKSelection(TopKSelection):
    """The best proposals for the primary group; in training, the next best for an extra one.

    Only the primary group's proposals are supervised, where those of selected tokens alone are.

    Args:
        extra_queries: size T of the extra group (1500); 0: none.
        extra_content: contents of the extra group; None: made as the primary's, where that is no learned table.
        repeats: how often each object is offered to the extra group, K (6). Its losses are divided by as much.
        extra_weight: of the losses of the extra group, lambda (1).
        primary: see :class:`TopKSelection`; of the primary group.

    Raises:
        ValueError: when numbers are out of their range, or learned contents do not cover the queries.
    """

    training_only = ("extra_content",)

    def __init__(
        self,
        *,
        extra_queries: int = 1500,
        extra_content: LearnedContent | None = None,
        repeats: int = 6,
        extra_weight: float = 1.0,
        **primary: Any,
    ) -> None:
        super().__init__(**primary)
        if extra_queries < 0 or repeats < 1 or extra_weight < 0:
            raise ValueError(
                "extra_queries and extra_weight must not be negative, and repeats be at least 1; found "
                f"{extra_queries}, {extra_weight} and {repeats}"
            )
        rows = 0 if extra_content is None else extra_content.num_embeddings
        if rows != extra_queries and (isinstance(self.content, LearnedContent) or extra_content is not None):
            raise ValueError(f"extra_content has {rows} rows for extra_queries={extra_queries}")
        self.extra_queries = extra_queries
        self.extra_content = extra_content
        self.repeats = repeats
        self.extra_weight = extra_weight

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """The primary group; in training, followed by the extra one.

        Raises:
            ValueError: when the images have fewer tokens than there are queries in both groups.
        """
        if not training or self.extra_queries == 0:
            return super().forward(memory, training)
        proposals = self.proposals(anchor_tokens(memory))
        index = self.select(proposals, self.num_queries + self.extra_queries)
        best, next_best = index.split([self.num_queries, self.extra_queries], dim=1)
        primary = QueryGroup(PRIMARY, 0, self.num_queries)
        extra = QueryGroup(
            name="hybrid",
            start=0,
            stop=self.extra_queries,
            target_repeats=self.repeats,
            loss_divisor=self.repeats,
            loss_weight=self.extra_weight,
            loss_suffix="hybrid",
        )
        content = self.content if self.extra_content is None else self.extra_content
        return (
            self.make_queries(proposals, best, self.content, primary, self.supervised(proposals, best)),
            self.make_queries(proposals, next_best, content, extra, None),
        )
