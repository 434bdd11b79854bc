"""Mask2Former for instance segmentation (arXiv 2112.01527): classes and masks, no boxes.

The constants are those of the released code. Levels come fine to coarse here, as everywhere; the released code has them
the other way round.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.class_heads import ClassHeads
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.modeling.decoder import MaskedDecoder, masked_decoder_layer
from querydet.modeling.detector import QueryDetector
from querydet.modeling.layers import SinePositionEmbedding
from querydet.modeling.masks import (
    MaskBranch,
    PasteMasks,
    PixelEmbedding,
    PointDiceLoss,
    PointMaskCost,
    PointMaskLoss,
)
from querydet.modeling.no_object import SoftmaxHungarianAssigner, SoftmaxLoss, SoftmaxPairsPostprocess
from querydet.modeling.selection import LearnedContents

_base = get_config("common/models/deformable_detr.py").model

model = L(QueryDetector)(
    num_classes=80,
    backbone=_base.backbone,
    neck=_base.neck,
    encoder=_base.encoder,
    selection=L(LearnedContents)(num_queries=100, embed_dim="${..neck.embed_dim}"),
    denoising=None,
    decoder=L(MaskedDecoder)(
        num_layers=9,
        num_levels="${..neck.num_levels}",
        position_embedding=L(SinePositionEmbedding)(embed_dim="${...neck.embed_dim}", temperature=10000.0, offset=0.0),
        activation_checkpointing=False,
        layer=L(masked_decoder_layer)(embed_dim="${...neck.embed_dim}", num_heads=8, ffn_dim=2048, dropout=0.0),
    ),
    heads=L(ClassHeads)(num_classes="${..num_classes}", embed_dim="${..neck.embed_dim}"),
    masks=L(MaskBranch)(
        head=L(PixelEmbedding)(in_channels={"res2": 256}, embed_dim="${...neck.embed_dim}", ignore_padding=False),
        layers="all",
        groups="all",
        paste=L(PasteMasks)(resize="bilinear", rescore=True, boxes_from_masks=True, as_rle=False, min_score=0.0),
    ),
    criterion=L(Criterion)(
        rules={
            "decoder": L(SupervisionRule)(
                stage="decoder",
                assigner=L(SoftmaxHungarianAssigner)(
                    class_weight=2.0,
                    l1_weight=0.0,
                    giou_weight=0.0,
                    mask_cost=L(PointMaskCost)(mask_weight=5.0, dice_weight=5.0, num_points=12544),
                ),
                losses={
                    "class": L(SoftmaxLoss)(weight=2.0, background=0.1),
                    "mask": L(PointMaskLoss)(weight=5.0, num_points=12544, oversampling=3.0, importance=0.75),
                    "dice": L(PointDiceLoss)(weight=5.0, num_points=12544, oversampling=3.0, importance=0.75),
                },
            )
        }
    ),
    postprocess=L(SoftmaxPairsPostprocess)(num_detections=100, clip=True),
    padding_is_image=True,
    size_divisibility=32,
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
    input_format="RGB",
)
model.neck.num_levels = 3
model.neck.ignore_padding = False
model.neck.position_embedding.offset = 0.0
model.encoder.layer.dropout = 0.0
model.backbone.out_features = ["res2", "res3", "res4", "res5"]
model.backbone.freeze_at = 0
