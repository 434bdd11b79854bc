"""Initial queries from the best proposals of the encoder.

The box of a query comes from the image. Its content comes from that box (Deformable DETR, arXiv 2010.04159, appendix
A.4), or from a learned table ("mixed query selection", DINO, arXiv 2203.03605, section 3.4).
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from querydet.modeling.selection.content import BoxEmbedding
from querydet.modeling.selection.proposals import ProposalHead, anchor_tokens
from querydet.parts import Heads
from querydet.structures import PRIMARY, InitialQueries, ProposalPredictions, Proposals, QueryGroup, TokenPyramid
from querydet.traits import trait


class TopKSelection(nn.Module):
    """Selects the proposals of the highest scores, whose boxes become the initial references of the decoder.

    Args:
        num_queries: Q.
        proposals: predicts a class and a box for each token.
        content: makes the content of the queries; None: `box_embedding` does.
        box_embedding: makes fixed positional queries and content from the boxes; None: the decoder makes positions.
        objectness: whether the first class logit is the score, and all tokens are supervised as object or background
            (Deformable DETR). False: the highest class logit is the score, and the selected tokens are supervised with
            their classes (DINO). The encoder's supervision rule must agree, or queries are selected by untrained
            logits.
        usable_only: whether usable tokens always come before tokens that are padding or whose anchor leaves the image.
            Those all have one score, by which the released codes rank them, so that in a padded batch they may displace
            tokens of the image. Where an image has fewer usable tokens than queries, the other queries start from boxes
            (1, 1, 1, 1) in any case.

    Raises:
        ValueError: when nothing makes the content of the queries, or `content` has another number of rows.
    """

    reference_dim = 4  # boxes
    has_encoder_predictions = True

    def __init__(
        self,
        *,
        num_queries: int,
        proposals: ProposalHead,
        content: nn.Module | None = None,
        box_embedding: BoxEmbedding | None = None,
        objectness: bool = False,
        usable_only: bool = True,
    ) -> None:
        super().__init__()
        if box_embedding is None and (content is None or trait(content, "needs_box_content")):
            raise ValueError(
                f"{type(self).__name__} needs a learned content, or a box_embedding to make content from boxes"
            )
        rows = trait(content, "num_rows")
        if rows not in (None, num_queries):
            raise ValueError(f"content has {rows} rows for num_queries={num_queries}")
        self.num_queries = num_queries
        self.proposals = proposals
        self.content = content
        self.box_embedding = box_embedding
        self.objectness = objectness
        self.usable_only = usable_only

    @property
    def fixed_positions(self) -> bool:
        """True where the queries bring their positional part."""
        return self.box_embedding is not None

    @property
    def embed_dim(self) -> int:
        """C, the width of tokens and queries."""
        return self.proposals.embed_dim

    @property
    def num_classes(self) -> int:
        """K, the number of classes of the proposals."""
        return self.proposals.class_head.out_features

    @property
    def class_agnostic(self) -> bool:
        """True where the proposals only distinguish objects from background."""
        return self.objectness

    @property
    def learned_content(self) -> bool:
        """True where the content is a learned table (mixed query selection)."""
        return trait(self.content, "num_rows") is not None

    def start_from(self, heads: Heads) -> None:
        """Copy the decoder's last class and box head to the proposal heads of all groups."""
        for module in self.modules():
            if isinstance(module, ProposalHead):
                module.start_from(heads)

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Select the queries of each image, best first; in training and inference alike.

        Raises:
            ValueError: when the images have fewer tokens than there are queries.
        """
        return (self._select_group(self.propose(memory), self.content),)

    def propose(self, memory: TokenPyramid) -> Proposals:
        """Predict a class and a box for each token."""
        return self.proposals(anchor_tokens(memory))

    def group_weights(self, count: int) -> dict[str, nn.Module]:
        """Make proposal heads and contents for further groups; see `querydet.parts.SharedGroups`."""
        heads = nn.ModuleList(copy_head(self.proposals) for _ in range(count))
        return {"extra_proposals": heads, "extra_contents": copy_contents(self.content, count)}

    def select_groups(self, memory: TokenPyramid, weights: Mapping[str, nn.Module]) -> tuple[InitialQueries, ...]:
        """Select the best proposals of each group's head; the anchors of the tokens are computed once.

        Raises:
            ValueError: when the images have fewer tokens than a group has queries.
        """
        candidates = anchor_tokens(memory)
        heads = [self.proposals, *weights["extra_proposals"].children()]
        further: list[nn.Module | None] = list(weights["extra_contents"].children())
        contents = [self.content, *(further or [None] * (len(heads) - 1))]
        return tuple(
            self._select_group(head(candidates), content) for head, content in zip(heads, contents, strict=True)
        )

    def _select_group(self, proposals: Proposals, content: nn.Module | None) -> InitialQueries:
        index = self.select(proposals, self.num_queries)
        group = QueryGroup(PRIMARY, 0, self.num_queries)
        return self.make_queries(proposals, index, content, group, self.supervised(proposals, index))

    def select(self, proposals: Proposals, num_queries: int) -> Tensor:
        """Return the indices (B, num_queries) of the best tokens, best first.

        Raises:
            ValueError: when there are fewer tokens than queries.
        """
        self.check_tokens(proposals, num_queries)
        return self.scores(proposals).topk(num_queries, dim=1).indices

    def scores(self, proposals: Proposals) -> Tensor:
        """Return the scores (B, S) that tokens are selected by."""
        scores = proposals.logits[..., 0] if self.objectness else proposals.logits.max(-1).values
        return scores.masked_fill(~proposals.usable, -torch.inf) if self.usable_only else scores

    def check_tokens(self, proposals: Proposals, num_queries: int) -> None:
        """Raise ValueError when there are fewer tokens than queries."""
        tokens = proposals.logits.shape[1]
        if tokens < num_queries:
            raise ValueError(
                f"the images give {tokens} tokens, fewer than the {num_queries} queries to select: use larger "
                "images, more levels, or fewer queries (num_queries of model.selection)"
            )

    def make_queries(
        self,
        proposals: Proposals,
        index: Tensor,
        content: nn.Module | None,
        group: QueryGroup,
        predictions: ProposalPredictions | None,
    ) -> InitialQueries:
        """Make the queries of one group.

        Args:
            proposals: the predictions of all tokens.
            index: (B, Q), the selected tokens, best first.
            content: makes the content of the queries; None: `box_embedding` does.
            group: the group that the queries form.
            predictions: encoder predictions that are supervised with this group; None: there are none.
        """
        boxes = gather_tokens(proposals.boxes_unsigmoid, index).detach().sigmoid()
        position, box_content = (None, None) if self.box_embedding is None else self.box_embedding(boxes)
        values = box_content if content is None else content(box_content, gather_tokens(proposals.features, index))
        assert values is not None
        return InitialQueries(
            group=group, content=values, boxes=boxes, position=position, predictions=predictions, tokens=index
        )

    def supervised(self, proposals: Proposals, index: Tensor) -> ProposalPredictions:
        """Return the proposals that are supervised: with `objectness` those of all tokens, else the selected ones."""
        logits, boxes, anchors = proposals.logits, proposals.boxes_unsigmoid, proposals.anchors
        if not self.objectness:
            logits, boxes, anchors = (gather_tokens(values, index) for values in (logits, boxes, anchors))
        return ProposalPredictions(logits=logits, boxes=boxes.sigmoid(), anchors=anchors)

    def embed_boxes(self, boxes: Tensor) -> Tensor | None:
        """Return fixed positional queries (B, n, C) of other boxes (B, n, 4); None where the decoder makes them."""
        return None if self.box_embedding is None else self.box_embedding(boxes)[0]


def gather_tokens(values: Tensor, index: Tensor) -> Tensor:
    """Return the rows (B, Q, n) of values (B, S, n) at an index (B, Q)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def copy_head(head: ProposalHead) -> ProposalHead:
    """Copy a proposal head for another group, with equal class and box heads and a newly drawn projection.

    Heads that start equal in everything would stay equal: the encoder's loss would be equal for all of them, and all
    groups would always select the same tokens.
    """
    copied = copy.deepcopy(head)
    copied.reset_projection()
    return copied


def copy_contents(content: nn.Module | None, count: int) -> nn.ModuleList:
    """Copy a content for further groups: a learned table is drawn again, other weights start equal."""
    copies = nn.ModuleList() if content is None else nn.ModuleList(copy.deepcopy(content) for _ in range(count))
    for copied in copies:
        reset = getattr(copied, "reset_parameters", None)
        if reset is not None:
            reset()
    return copies
