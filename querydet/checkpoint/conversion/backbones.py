"""Recognition of backbones by names and shapes of weights: ResNets of bottleneck blocks and Swin Transformers."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

PREFIX = "backbone."
DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}


def find_backbone(state: Mapping[str, Tensor], num_maps: int) -> dict[str, Any] | None:
    """Infer the keys of `model.backbone`, and the `names` of its output maps; None without a backbone.

    Args:
        state: weights under our names.
        num_maps: number of maps that the neck uses.

    Raises:
        ValueError: the backbone is neither a ResNet of known depth nor a Swin Transformer.
    """
    names = [name for name in state if name.startswith(PREFIX)]
    if not names:
        return None
    if f"{PREFIX}patch_embed.proj.weight" in state:
        try:
            return _swin(state)
        except (KeyError, IndexError) as error:
            raise ValueError(f"the weights of the Swin Transformer are not complete: {error}") from error
    blocks = tuple(_count(names, rf"backbone\.res{stage}\.(\d+)\.") for stage in (2, 3, 4, 5))
    basic = any(".conv2." in name for name in names) and not any(".conv3." in name for name in names)
    if blocks not in DEPTHS or basic:  # ResNet-34 has as many blocks as ResNet-50
        raise ValueError(
            f"the backbone is not known: no Swin Transformer, and its stages have {blocks} blocks, where ResNets of "
            "bottlenecks have "
            f"{', '.join(map(str, DEPTHS))}. Give the config of the model with --config-file"
        )
    maps = [f"res{stage}" for stage in range(6 - num_maps, 6)]
    return {"stages.depth": DEPTHS[blocks], "out_features": maps, "names": maps}


def _swin(state: Mapping[str, Tensor]) -> dict[str, Any]:
    names = list(state)
    stages = _count(names, r"backbone\.layers\.(\d+)\.")
    tables = [state[f"backbone.layers.{n}.blocks.0.attn.relative_position_bias_table"] for n in range(stages)]
    outputs = [n for n in range(stages) if f"backbone.norm{n}.weight" in state]
    return {
        "embed_dim": int(state["backbone.patch_embed.proj.weight"].shape[0]),
        "depths": [_count(names, rf"backbone\.layers\.{n}\.blocks\.(\d+)\.") for n in range(stages)],
        "num_heads": [int(table.shape[1]) for table in tables],
        "window_size": (math.isqrt(len(tables[0])) + 1) // 2,  # the table has (2 w - 1)^2 rows
        "out_indices": outputs,
        "names": [f"p{n}" for n in outputs],
    }


def _count(names: list[str], pattern: str) -> int:
    return len({match[1] for name in names if (match := re.match(pattern, name))})
