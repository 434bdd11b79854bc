"""Memory of standard attention, whose maps grow with the square of the image's area.

Only the maps of attention weights are estimated, (B, M, rows, S) numbers for each layer: rows are tokens in the
encoder and queries in the decoder. A training step keeps them for the backward pass where PyTorch computes
`scaled_dot_product_attention` by its plain formula (with dropout on the CPU, or when no other kernel takes the
mask); its fused kernels keep none of them. With activation checkpointing only the maps of one layer exist at a time.
"""

from dataclasses import dataclass

from torch import nn

from querydet.modeling.backbones import padded_size
from querydet.modeling.detector import QueryDetector
from querydet.traits import trait

BYTES = 4  # per float32 number


@dataclass(frozen=True, slots=True)
class AttentionMemory:
    """Bytes of the attention maps of a training step."""

    tokens: int  # S, of the largest image
    queries: int  # of all groups, without denoising ones, whose number depends on the objects
    encoder: int
    decoder: int  # cross-attention only: self-attention maps do not grow with the image

    @property
    def total(self) -> int:
        """Sum encoder and decoder."""
        return self.encoder + self.decoder


def is_dense(model: nn.Module) -> bool:
    """Return whether a model is a detector that keeps attention maps over all tokens (trait `attention_rows`)."""
    if not isinstance(model, QueryDetector):
        return False
    return any(trait(part, "attention_rows") is not None for part in (model.encoder, model.decoder))


def attention_memory(model: QueryDetector, height: int, width: int, batch_size: int) -> AttentionMemory:
    """Estimate the bytes of the attention maps of a training step.

    Args:
        model: a detector; deformable attention counts as zero, and so does an encoder up to which nothing is trained.
        height: largest of the images, in pixels; the size that they are padded to is counted.
        width: largest of the images, in pixels.
        batch_size: images per process.

    Raises:
        ValueError: a size or the batch is not positive, or the size is more than the backbone takes.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, found {batch_size}")
    tokens = sum(_level_sizes(model, *padded_size(model.backbone, height, width, model.size_divisibility)))
    queries = int(model.selection.num_queries) * int(trait(model.selection, "num_groups"))
    maps = {"encoder": 0, "decoder": 0}
    for name in ("encoder", "decoder") if _encoder_is_trained(model) else ("decoder",):
        rows = trait(getattr(model, name), "attention_rows")
        maps[name] = 0 if rows is None else batch_size * rows(tokens, queries) * tokens * BYTES
    return AttentionMemory(tokens, queries, **maps)


def _encoder_is_trained(model: QueryDetector) -> bool:
    """Return whether the encoder has a backward pass: it is trained, or something in front of it."""
    parts = (part for part in (model.backbone, model.neck, model.encoder) if isinstance(part, nn.Module))
    return any(parameter.requires_grad for part in parts for parameter in part.parameters())


def _level_sizes(model: QueryDetector, height: int, width: int) -> list[int]:
    """Return the number of tokens of each level, for a padded image; levels beyond the backbone's maps halve sides."""
    shapes = model.backbone.output_shape()
    strides = [shapes[name].stride for name in model.neck.in_channels]
    sides = [(-(-height // stride), -(-width // stride)) for stride in strides]
    for _ in range(model.neck.num_levels - len(sides)):
        rows, columns = sides[-1]
        sides.append(((rows + 1) // 2, (columns + 1) // 2))
    return [rows * columns for rows, columns in sides]


def describe_memory(found: AttentionMemory, height: int, width: int, batch_size: int) -> str:
    """Describe the estimate in one sentence for a log."""
    mib = 2**20
    return (
        f"Dense attention: images of up to {height}x{width} pixels have {found.tokens} tokens; the attention maps of a "
        f"step with {batch_size} of them in a process would take {found.total / mib:,.0f} MiB in float32 (encoder "
        f"{found.encoder / mib:,.0f}, decoder {found.decoder / mib:,.0f}), which fused kernels of "
        "scaled_dot_product_attention do not keep and the plain one does"
    )
