"""The order of feature levels: ours come fine to coarse, those of Mask2Former coarse to fine."""

import re
from collections.abc import Mapping

from torch import Tensor

_EMBEDDINGS = ("neck.level_embed", "decoder.level_embed.weight")
_SAMPLING = re.compile(r"encoder\.layers\.\d+\.attention\.(sampling_offsets|attention_weights)\.(weight|bias)")


def reverse_levels(state: Mapping[str, Tensor], num_levels: int, num_heads: int) -> dict[str, Tensor]:
    """Reverse the levels in every weight that has rows for each level; the inverse of itself.

    Names of levels are not changed.

    Args:
        state: weights under our names.
        num_levels: L, the number of levels.
        num_heads: M, of the encoder's attention, whose rows are ordered by head, then level, then point.

    Raises:
        ValueError: the rows of an attention are not those of so many heads and levels.
    """
    return {name: _reversed(name, value, num_levels, num_heads) for name, value in state.items()}


def _reversed(name: str, value: Tensor, num_levels: int, num_heads: int) -> Tensor:
    if name in _EMBEDDINGS:
        return value.flip(0)
    sampling = _SAMPLING.fullmatch(name)
    if sampling is None:
        return value
    rows = len(value) if value.dim() else 0
    if not rows or rows % (num_heads * num_levels):
        raise ValueError(
            f"{rows} rows of {sampling[1].replace('_', ' ')} cannot be those of {num_heads} heads and {num_levels} "
            "levels: say with --num-heads how many there are"
        )
    return value.unflatten(0, (num_heads, num_levels, -1)).flip(1).flatten(0, 2)
