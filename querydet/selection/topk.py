"""Initial queries from the best proposals of the encoder.

The content of a query comes from its box (Deformable DETR, arXiv 2010.04159, appendix A.4) or from a learned table
while only its box comes from the image ("mixed query selection", DINO, arXiv 2203.03605, section 3.4).
"""

from torch import Tensor, nn

from querydet.queries.position import BoxEmbedding
from querydet.selection.initial import InitialQueries, ProposalPredictions
from querydet.selection.proposals import ProposalHead
from querydet.structures import FeaturePyramid, Proposals


class LearnedContent(nn.Embedding):
    """A learned content for each rank: row k always goes with the k-th best proposal.

    Args:
        num_queries: Q.
        embed_dim: width C.
        init: "xavier" (DINO, whose released code re-initialises the table with its transformer) or "normal" (N(0, 1),
            Deformable DETR++).
    """

    def __init__(self, *, num_queries: int, embed_dim: int = 256, init: str = "xavier") -> None:
        if init not in ("xavier", "normal"):
            raise ValueError(f"init must be 'xavier' or 'normal', found {init!r}")
        super().__init__(num_queries, embed_dim)
        if init == "xavier":
            nn.init.xavier_uniform_(self.weight)


class TopKSelection(nn.Module):
    """The best-scored proposals become the initial reference boxes of the decoder.

    Args:
        num_queries: Q.
        proposals: predicts a class and a box for each token.
        content: learned content of the queries; None: from ``box_embedding``.
        box_embedding: fixed positional queries (and content) from the boxes; None: the decoder makes positions itself.
        objectness: score proposals by the first class logit alone, and supervise all tokens as object or not
            (Deformable DETR); otherwise score by the best class, and supervise the selected tokens with their classes
            (DINO). The supervision rule of the encoder must agree: other columns would be selected by, untrained.

    Raises:
        ValueError: when nothing gives the queries their content.
    """

    def __init__(
        self,
        *,
        num_queries: int,
        proposals: ProposalHead,
        content: LearnedContent | None = None,
        box_embedding: BoxEmbedding | None = None,
        objectness: bool = False,
    ) -> None:
        super().__init__()
        if content is None and box_embedding is None:
            raise ValueError("give TopKSelection a learned content, or a box_embedding to make content from boxes")
        if content is not None and content.num_embeddings != num_queries:
            raise ValueError(f"content has {content.num_embeddings} rows for num_queries={num_queries}")
        self.num_queries = num_queries
        self.proposals = proposals
        self.content = content
        self.box_embedding = box_embedding
        self.objectness = objectness

    def forward(self, memory: FeaturePyramid) -> InitialQueries:
        """Select the queries of each image, best first.

        Raises:
            ValueError: when the images have fewer tokens than there are queries.
        """
        proposals = self.proposals(memory)
        index = self.select(proposals)
        logits, boxes_unsigmoid = _gather(proposals.logits, index), _gather(proposals.boxes_unsigmoid, index)
        boxes = boxes_unsigmoid.detach().sigmoid()
        position, content = (None, None) if self.box_embedding is None else self.box_embedding(boxes)
        if self.content is not None:
            content = self.content.weight.expand(len(index), -1, -1)
        assert content is not None
        if self.objectness:
            logits, boxes_unsigmoid = proposals.logits, proposals.boxes_unsigmoid
        predictions = ProposalPredictions(logits=logits, boxes=boxes_unsigmoid.sigmoid())
        return InitialQueries(content=content, boxes=boxes, position=position, predictions=predictions)

    def select(self, proposals: Proposals) -> Tensor:
        """Indices (B, Q) of the best tokens, best first."""
        tokens = proposals.logits.shape[1]
        if tokens < self.num_queries:
            raise ValueError(
                f"the images give {tokens} tokens, fewer than the {self.num_queries} queries to select: use larger "
                "images, more levels, or fewer queries (model.selection.num_queries)"
            )
        score = proposals.logits[..., 0] if self.objectness else proposals.logits.max(-1).values
        return score.topk(self.num_queries, dim=1).indices


def _gather(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
