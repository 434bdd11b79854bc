"""Initial queries from the best proposals of the encoder.

The content of a query comes from its box (Deformable DETR, arXiv 2010.04159, appendix A.4) or from a learned table
while only its box comes from the image ("mixed query selection", DINO, arXiv 2203.03605, section 3.4).
"""

import torch
from torch import Tensor, nn

from querydet.modeling.selection.content import BoxEmbedding, LearnedContent, ProjectedFeatures, SelectedFeatures
from querydet.modeling.selection.proposals import ProposalHead, anchor_tokens
from querydet.structures import PRIMARY, InitialQueries, ProposalPredictions, Proposals, QueryGroup, TokenPyramid


class TopKSelection(nn.Module):
    """The best-scored proposals become the initial reference boxes of the decoder.

    Args:
        num_queries: Q.
        proposals: predicts a class and a box for each token.
        content: the queries' content, where it is not that of ``box_embedding`` alone; None: it is.
        box_embedding: fixed positional queries (and content) from the boxes; None: the decoder makes positions itself.
        objectness: score proposals by the first class logit alone, and supervise all tokens as object or not
            (Deformable DETR); otherwise score by the best class, and supervise the selected tokens with their classes
            (DINO). The supervision rule of the encoder must agree: other columns would be selected by, untrained.

        usable_only: never prefer a token that is padding, or whose anchor leaves the image, to one that is neither.
            Such tokens all have one score; the released codes rank them by it, so that in a padded batch they may take
            queries from the image. An image with fewer usable tokens than queries gets the rest in any case, as boxes
            (1, 1, 1, 1).

    Raises:
        ValueError: when nothing gives the queries their content, or the rows of ``content`` are not ``num_queries``.
    """

    reference_dim = 4  # boxes

    def __init__(
        self,
        *,
        num_queries: int,
        proposals: ProposalHead,
        content: LearnedContent | ProjectedFeatures | SelectedFeatures | None = None,
        box_embedding: BoxEmbedding | None = None,
        objectness: bool = False,
        usable_only: bool = True,
    ) -> None:
        super().__init__()
        if box_embedding is None and not isinstance(content, LearnedContent | SelectedFeatures):
            raise ValueError(
                f"{type(self).__name__} needs a learned content, or a box_embedding to make content from boxes"
            )
        if isinstance(content, LearnedContent) and content.num_embeddings != num_queries:
            raise ValueError(f"content has {content.num_embeddings} rows for num_queries={num_queries}")
        self.num_queries = num_queries
        self.proposals = proposals
        self.content = content
        self.box_embedding = box_embedding
        self.objectness = objectness
        self.usable_only = usable_only

    @property
    def fixed_positions(self) -> bool:
        """Whether the queries bring their positional part."""
        return self.box_embedding is not None

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Select the queries of each image, best first; in training and inference alike.

        Raises:
            ValueError: when the images have fewer tokens than there are queries.
        """
        proposals = self.proposals(anchor_tokens(memory))
        index = self.select(proposals, self.num_queries)
        group = QueryGroup(PRIMARY, 0, self.num_queries)
        return (self.make_queries(proposals, index, self.content, group, self.supervised(proposals, index)),)

    def select(self, proposals: Proposals, num_queries: int) -> Tensor:
        """Indices (B, num_queries) of the best tokens, best first.

        Raises:
            ValueError: when there are fewer tokens than queries.
        """
        self.check_tokens(proposals, num_queries)
        return self.scores(proposals).topk(num_queries, dim=1).indices

    def scores(self, proposals: Proposals) -> Tensor:
        """What tokens are selected by, (B, S)."""
        scores = proposals.logits[..., 0] if self.objectness else proposals.logits.max(-1).values
        return scores.masked_fill(~proposals.usable, -torch.inf) if self.usable_only else scores

    def check_tokens(self, proposals: Proposals, num_queries: int) -> None:
        """Raise ValueError when there are fewer tokens than queries."""
        tokens = proposals.logits.shape[1]
        if tokens < num_queries:
            raise ValueError(
                f"the images give {tokens} tokens, fewer than the {num_queries} queries to select: use larger "
                "images, more levels, or fewer queries (model.selection.num_queries)"
            )

    def make_queries(
        self,
        proposals: Proposals,
        index: Tensor,
        content: nn.Module | None,
        group: QueryGroup,
        predictions: ProposalPredictions | None,
    ) -> InitialQueries:
        """The queries of one group.

        Args:
            proposals: of all tokens.
            index: (B, Q), the selected tokens, best first.
            content: gives the queries their content; None: ``box_embedding`` does.
            group: what the queries are to be called.
            predictions: what of the first stage is supervised with this group.
        """
        boxes = gather_tokens(proposals.boxes_unsigmoid, index).detach().sigmoid()
        position, box_content = (None, None) if self.box_embedding is None else self.box_embedding(boxes)
        values = box_content if content is None else content(box_content, gather_tokens(proposals.features, index))
        assert values is not None
        return InitialQueries(
            group=group, content=values, boxes=boxes, position=position, predictions=predictions, tokens=index
        )

    def supervised(self, proposals: Proposals, index: Tensor) -> ProposalPredictions:
        """The predictions of the first stage that are trained: all tokens as object or not, or the selected ones."""
        logits, boxes, anchors = proposals.logits, proposals.boxes_unsigmoid, proposals.anchors
        if not self.objectness:
            logits, boxes, anchors = (gather_tokens(values, index) for values in (logits, boxes, anchors))
        return ProposalPredictions(logits=logits, boxes=boxes.sigmoid(), anchors=anchors)

    def embed_boxes(self, boxes: Tensor) -> Tensor | None:
        """Fixed positional queries (B, Q, C) of other boxes (B, Q, 4); None where the decoder makes them."""
        return None if self.box_embedding is None else self.box_embedding(boxes)[0]


def gather_tokens(values: Tensor, index: Tensor) -> Tensor:
    """The rows (B, Q, n) of values (B, S, n) that index (B, Q) names."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
