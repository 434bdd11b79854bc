"""Layer-wise decay of the learning rate of plain vision transformers.

BEiT (arXiv 2106.08254, appendix) and ViTDet (arXiv 2203.16527, appendix A.2): from the last block to the first, every
block learns more slowly than the one behind it by a constant factor. As in Detectron2's ViTDet, pyramid and detector
learn at the full rate; the factor takes the place of DINO's 0.1 for the whole backbone.
"""

from collections.abc import Sequence

EMBEDDINGS = ("pos_embed", "patch_embed")  # in front of the first block


def layer_decay(
    prefix: str,
    depth: int,
    decay: float,
    *,
    embeddings: Sequence[str] = EMBEDDINGS,
    residual_blocks: Sequence[int] = (),
) -> dict[str, float]:
    """Make the rules for `optimizer.lr_factors`.

    A block that is i-th from 0 has the factor `decay ** (depth - i)`, and the embeddings have `decay ** (depth + 1)`.

    Args:
        prefix: name of the transformer in the detector: "backbone.net" in a pyramid.
        depth: number of blocks.
        decay: ratio of the learning rates of a block and the next, above 0 and at most 1.
        embeddings: names of the parameters or modules in front of the first block; of timm's transformers also
            "cls_token" and "reg_token", where they have some.
        residual_blocks: indices of blocks that have a convolutional block of Detectron2 added (`residual`), which is
            new and learns at the full rate.

    Returns:
        Factors by the beginning of parameters' names, which end so that block 1 is not block 11.

    Raises:
        ValueError: a depth below 1, a decay outside of its range, or a residual block that is none of the blocks.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, found {depth}")
    if not 0 < decay <= 1:
        raise ValueError(f"decay must be above 0 and at most 1, found {decay}")
    strange = sorted(set(residual_blocks) - set(range(depth)))
    if strange:
        raise ValueError(f"residual_blocks must be indices of the {depth} blocks, found {strange}")
    rules = {f"{prefix}.blocks.{block}.residual.": 1.0 for block in residual_blocks}
    rules |= {f"{prefix}.{name}": decay ** (depth + 1) for name in embeddings}
    return rules | {f"{prefix}.blocks.{block}.": decay ** (depth - block) for block in range(depth)}
