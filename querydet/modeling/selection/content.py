"""The content of selected queries: learned, taken from their tokens, or made from their boxes."""

from torch import Tensor, nn

from querydet.modeling.layers.position_embedding import BOX_TEMPERATURE, box_sine_embedding


class LearnedContent(nn.Embedding):
    """A learned content for each rank: the first row belongs to the best proposal, the last to the Q-th best.

    "Mixed query selection" (DINO, arXiv 2203.03605, section 3.4).

    Args:
        num_queries: Q.
        embed_dim: width C.
        init: initial values, "xavier" (DINO, whose released code initialises the table with its transformer again) or
            "normal" (N(0, 1), Deformable DETR++).

    Raises:
        ValueError: for an unknown init.
    """

    needs_box_content = False

    def __init__(self, *, num_queries: int, embed_dim: int = 256, init: str = "xavier") -> None:
        if init not in ("xavier", "normal"):
            raise ValueError(f"init must be 'xavier' or 'normal', found {init!r}")
        self.init = init
        super().__init__(num_queries, embed_dim)

    @property
    def num_rows(self) -> int:
        """Q, the number of queries that the table is for."""
        return self.num_embeddings

    def reset_parameters(self) -> None:
        """Draw the table again."""
        if self.init == "xavier":
            nn.init.xavier_uniform_(self.weight)
        else:
            nn.init.normal_(self.weight)

    def forward(self, box_content: Tensor | None, features: Tensor) -> Tensor:  # type: ignore[override]
        """Return the table for each image, (B, Q, C); features (B, Q, C) of the tokens give the number of images."""
        return self.weight.expand(features.shape[0], -1, -1)


class ProjectedFeatures(nn.Module):
    """The features of the selected tokens, projected and added to the content of their boxes.

    DETA and its improved baseline (arXiv 2212.06137); detached, as in the released code.

    Args:
        embed_dim: width C.
    """

    def __init__(self, *, embed_dim: int = 256) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, box_content: Tensor | None, features: Tensor) -> Tensor:
        """Return the content (B, Q, C) from that of the boxes (B, Q, C) and the features (B, Q, C) of the tokens."""
        assert box_content is not None
        return box_content + self.norm(self.linear(features.detach()))


class SelectedFeatures(nn.Module):
    """The features of the selected tokens: "pure query selection" (DINO, section 3.4 and figure 5).

    They are detached, as in the released code. Mixed query selection learns the content instead.
    """

    needs_box_content = False

    def forward(self, box_content: Tensor | None, features: Tensor) -> Tensor:
        """Return the features (B, Q, C) of the tokens."""
        return features.detach()


class BoxEmbedding(nn.Module):
    """Fixed positional queries, and content, from the initial boxes.

    Two-stage Deformable DETR (arXiv 2010.04159, appendix A.4): the sine embedding of `(x, y, w, h)`, a linear layer and
    a layer norm; the first half of the result is the position, the second the content.

    Args:
        embed_dim: width C.
    """

    def __init__(self, *, embed_dim: int = 256) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.linear = nn.Linear(2 * embed_dim, 2 * embed_dim)
        self.norm = nn.LayerNorm(2 * embed_dim)
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised boxes (B, Q, 4) to position and content, (B, Q, C) each."""
        embedding = box_sine_embedding(boxes, self.embed_dim // 2, (0, 1, 2, 3), BOX_TEMPERATURE)
        position, content = self.norm(self.linear(embedding.to(self.linear.weight.dtype))).chunk(2, dim=-1)
        return position, content
