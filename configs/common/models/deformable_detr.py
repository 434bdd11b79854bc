"""Two-stage Deformable DETR with box refinement (arXiv 2010.04159): the base composition of its family.

The constants are those of the released code; where an optional trick of a later paper applies, the file is
``deformable_detr_pp.py``.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.modeling.decoder import DeformableDecoder, deformable_decoder_layer
from querydet.modeling.detector import QueryDetector
from querydet.modeling.encoder import DeformableEncoder, deformable_encoder_layer
from querydet.modeling.heads import PredictionHeads
from querydet.modeling.layers import SinePositionEmbedding
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.modeling.neck import MultiScaleNeck
from querydet.modeling.postprocess import TopKPostprocess
from querydet.modeling.selection import BoxEmbedding, ProposalHead, TopKSelection

_assigner = L(HungarianAssigner)(class_weight=2.0, l1_weight=5.0, giou_weight=2.0, alpha=0.25, gamma=2.0, giou_eps=0.0)
_losses = {
    "class": L(FocalLoss)(weight=2.0, alpha=0.25, gamma=2.0),
    "l1": L(L1Loss)(weight=5.0),
    "giou": L(GIoULoss)(weight=2.0, eps=0.0),
}

model = L(QueryDetector)(
    num_classes=80,
    backbone=get_config("common/backbones/resnet.py").backbone,
    neck=L(MultiScaleNeck)(
        in_channels={"res3": 512, "res4": 1024, "res5": 2048},
        num_levels=4,
        embed_dim=256,
        ignore_padding=True,
        position_embedding=L(SinePositionEmbedding)(embed_dim="${..embed_dim}", temperature=10000.0, offset=-0.5),
    ),
    encoder=L(DeformableEncoder)(
        num_layers=6,
        activation_checkpointing=False,
        layer=L(deformable_encoder_layer)(
            embed_dim="${...neck.embed_dim}",
            num_heads=8,
            ffn_dim=1024,
            dropout=0.1,
            num_levels="${...neck.num_levels}",
            num_points=4,
        ),
    ),
    selection=L(TopKSelection)(
        num_queries=300,
        proposals=L(ProposalHead)(num_classes="${...num_classes}", embed_dim="${...neck.embed_dim}"),
        content=None,
        box_embedding=L(BoxEmbedding)(embed_dim="${...neck.embed_dim}"),
        objectness=True,
        usable_only=True,
    ),
    denoising=None,
    decoder=L(DeformableDecoder)(
        num_layers=6,
        query_position=None,
        output_norm=False,
        refine_boxes=True,
        look_forward_twice=False,
        activation_checkpointing=False,
        layer=L(deformable_decoder_layer)(
            embed_dim="${...neck.embed_dim}",
            num_heads=8,
            ffn_dim=1024,
            dropout=0.1,
            num_levels="${...neck.num_levels}",
            num_points=4,
        ),
    ),
    heads=L(PredictionHeads)(
        num_classes="${..num_classes}",
        embed_dim="${..neck.embed_dim}",
        num_layers="${..decoder.num_layers}",
        share_layers=False,
        inverse_sigmoid_eps=1e-5,
        initial_size_logit=0.0,
    ),
    criterion=L(Criterion)(
        rules={
            "decoder": L(SupervisionRule)(stage="decoder", assigner=_assigner, losses=_losses),
            "encoder": L(SupervisionRule)(stage="encoder", assigner=_assigner, losses=_losses, class_agnostic=True),
        }
    ),
    postprocess=L(TopKPostprocess)(num_detections=100, clip=True),
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
    input_format="RGB",
)
