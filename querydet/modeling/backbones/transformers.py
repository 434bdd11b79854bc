"""Builders of Detectron2's plain and multi-scale vision transformers.

Their arguments are those in which published sizes differ. All other settings are those of ViTDet (arXiv 2203.16527,
section 3) and MViTv2 (arXiv 2112.01526, sections 4 and 5.2), with an epsilon of 1e-6 in layer norms. Configs then hold
plain values and can be saved as YAML. Names of parameters are Detectron2's.

Detectron2's own recomputation of activations (`use_act_checkpoint`) needs fairscale and is not offered:
`train.activation_checkpointing=[backbone]` does the same for every backbone.
"""

import importlib.util
from collections.abc import Sequence
from functools import partial

from detectron2.modeling import MViT, ViT
from torch import nn

_norm = partial(nn.LayerNorm, eps=1e-6)


def make_vit(
    *,
    embed_dim: int,
    depth: int,
    num_heads: int,
    global_blocks: Sequence[int],
    window_size: int = 14,
    drop_path_rate: float = 0.0,
    image_size: int = 1024,
    absolute_positions: bool = True,
) -> ViT:
    """Build a plain transformer on patches of 16 pixels: one map of stride 16, named `last_feat`.

    Args:
        embed_dim: width of the backbone.
        depth: number of blocks.
        num_heads: number of attention heads of a block.
        global_blocks: indices of the blocks that attend to the whole image; the others attend within windows.
        window_size: side of a window, in patches.
        drop_path_rate: probability of skipping the last block; that of earlier ones grows linearly from 0.
        image_size: side in pixels that the tables of relative positions are made for; images may have any size.
        absolute_positions: whether the patches have absolute positions besides the relative ones.

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: a global block that is none of the blocks.
    """
    _require_timm("ViT")
    whole = set(global_blocks)
    if not all(block in range(depth) for block in whole):
        raise ValueError(f"global_blocks must be indices of the {depth} blocks, found {list(global_blocks)}")
    return ViT(
        img_size=image_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        drop_path_rate=drop_path_rate,
        norm_layer=_norm,
        use_abs_pos=absolute_positions,
        use_rel_pos=True,
        window_size=window_size,
        window_block_indexes=[block for block in range(depth) if block not in whole],
        out_feature="last_feat",
    )


def make_mvit(
    *,
    embed_dim: int,
    depth: int,
    last_blocks: Sequence[int],
    out_features: Sequence[str],
    num_heads: int = 1,
    drop_path_rate: float = 0.0,
    image_size: int = 224,
) -> MViT:
    """Build a multi-scale transformer: four stages with maps of stride 4 to 32, named `scale2` to `scale5`.

    Width and heads double from stage to stage.

    Args:
        embed_dim: width of the first stage.
        depth: number of blocks.
        last_blocks: index of the last block of each stage.
        out_features: names of the maps to return.
        num_heads: number of attention heads of a block of the first stage.
        drop_path_rate: probability of skipping the last block; that of earlier ones grows linearly from 0.
        image_size: side in pixels that the tables of relative positions are made for; images may have any size.

    Raises:
        ModuleNotFoundError: timm is not installed.
    """
    _require_timm("MViT")
    return MViT(
        img_size=image_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        last_block_indexes=tuple(last_blocks),
        drop_path_rate=drop_path_rate,
        norm_layer=_norm,
        out_features=tuple(out_features),
    )


def _require_timm(name: str) -> None:
    if importlib.util.find_spec("timm") is None:
        raise ModuleNotFoundError(
            f"Detectron2's {name} takes its feed-forward layers and stochastic depth from timm: pip install timm",
            name="timm",
        )
