"""Masks as products of queries and pixels, for any detector of the family: Mask2Former's pixels at stride 4.

`masks` goes to the slot of that name, `losses` into the rules whose predictions have masks. H-DETR (arXiv 2207.13080,
supplement C) describes such a branch on Deformable DETR without constants; these are Mask2Former's (arXiv 2112.01527).
The backbone has to give `res2`.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.masks import MaskBranch, PasteMasks, PixelEmbedding, PointDiceLoss, PointMaskLoss

# what the head takes from the model that it is put into
neck = {"embed_dim": 256}

masks = L(MaskBranch)(
    head=L(PixelEmbedding)(
        in_channels={"res2": 256}, embed_dim="${...neck.embed_dim}", mask_dim=None, level=0, ignore_padding=True
    ),
    layers="all",
    groups="primary",
    roles=["matching"],
    branches=["one_to_one"],
    paste=L(PasteMasks)(resize="bilinear", rescore=False, boxes_from_masks=False, as_rle=False, min_score=0.0),
)
losses = {
    "mask": L(PointMaskLoss)(weight=5.0, num_points=12544, oversampling=3.0, importance=0.75),
    "dice": L(PointDiceLoss)(weight=5.0, num_points=12544, oversampling=3.0, importance=0.75),
}
