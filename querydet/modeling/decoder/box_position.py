"""Positional queries from boxes."""

from torch import Tensor, nn

from querydet.modeling.layers import xavier_mlp
from querydet.modeling.layers.position_embedding import BOX_TEMPERATURE, box_sine_embedding


class BoxPosition(nn.Module):
    """Positional queries from the current boxes, computed again before every layer.

    DAB-DETR (arXiv 2201.12329, section 4.1), as DINO uses it: an MLP on the sine embedding of `(y, x, w, h)`.

    Args:
        embed_dim: width C.
        frame: frame of the embedded coordinates: "image", without its padding, or "padded", the padded finest level
            (released code; the other images of its batch then change an image's detections a little). Without padding,
            as for one image at a time, both are equal.

    Raises:
        ValueError: for an unknown frame.
    """

    def __init__(self, *, embed_dim: int = 256, frame: str = "image") -> None:
        if frame not in ("padded", "image"):
            raise ValueError(f"frame must be 'padded' or 'image', found {frame!r}")
        super().__init__()
        self.frame = frame
        self.embed_dim = embed_dim
        self.mlp = xavier_mlp(2 * embed_dim, embed_dim, embed_dim, num_layers=2)

    def forward(self, boxes: Tensor, valid_ratios: Tensor, content: Tensor, layer: int) -> Tensor:
        """Make positional queries.

        Args:
            boxes: (B, Q, 4), normalised by the image.
            valid_ratios: (B, 2), the part of the padded finest level that is image, as (w, h).
            content: (B, Q, C), of the queries before the layer; only its dtype matters here.
            layer: index of the decoder layer, not used here.

        Returns:
            Positional queries (B, Q, C).
        """
        if self.frame == "padded":
            boxes = boxes * valid_ratios.repeat(1, 2)[:, None]
        embedding = box_sine_embedding(boxes, self.embed_dim // 2, (1, 0, 2, 3), BOX_TEMPERATURE)
        return self.mlp(embedding.to(content.dtype))


class ScaledBoxPosition(BoxPosition):
    """Positional queries that each query's content scales, channel by channel, from the second layer on.

    DAB-DETR (arXiv 2201.12329, section 4.2) takes the scale from Conditional DETR; DN-DETR keeps it, DINO drops it.
    Before the first layer the content does not depend on the image yet, and the position is not scaled.

    Args:
        embed_dim: width C.
        frame: see `BoxPosition`.
    """

    def __init__(self, *, embed_dim: int = 256, frame: str = "image") -> None:
        super().__init__(embed_dim=embed_dim, frame=frame)
        self.scale = xavier_mlp(embed_dim, embed_dim, embed_dim, num_layers=2)

    def forward(self, boxes: Tensor, valid_ratios: Tensor, content: Tensor, layer: int) -> Tensor:
        """Make positional queries (B, Q, C), scaled by the content (B, Q, C) unless the layer is the first.

        The arguments are those of `BoxPosition.forward`.
        """
        position = super().forward(boxes, valid_ratios, content, layer)
        return position if layer == 0 else position * self.scale(content)
