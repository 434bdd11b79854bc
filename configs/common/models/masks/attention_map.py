"""Masks from attention maps: the head of MS-DETR's repository (arXiv 2401.03989, table 7), and its losses.

`masks` goes to the slot of that name, `losses` into the rules whose predictions have masks. The constants are those of
the released code. Masks have stride 16; DETR's own wiring, of stride 4, is `in_channels={"res4": 1024, "res3": 512,
"res2": 256}`, `halve=False` and the level of stride 32.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.masks import AttentionMapHead, DiceLoss, FocalMaskLoss, MaskBranch, PasteMasks

# what the head takes from the model that it is put into
neck = {"embed_dim": 256}

masks = L(MaskBranch)(
    head=L(AttentionMapHead)(
        in_channels={"res5": 2048, "res4": 1024, "res3": 512},
        embed_dim="${...neck.embed_dim}",
        num_heads=8,
        level=-1,
        halve=True,
        source="projected",
        ignore_padding=True,
    ),
    layers="last",
    groups="primary",
    roles=["matching"],
    branches=["one_to_one"],
    paste=L(PasteMasks)(resize="nearest", rescore=False, boxes_from_masks=False, as_rle=False, min_score=0.0),
)
losses = {"mask": L(FocalMaskLoss)(weight=1.0, alpha=0.25, gamma=2.0), "dice": L(DiceLoss)(weight=1.0)}
