"""DETR (arXiv 2005.12872): dense attention over the last backbone map, learned positions, softmax with no object.

The constants are those of the released code.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.modeling.decoder import DetrDecoder, detr_decoder_layer
from querydet.modeling.losses import GIoULoss, L1Loss
from querydet.modeling.no_object import NoObjectHeads, SoftmaxHungarianAssigner, SoftmaxLoss, SoftmaxPostprocess
from querydet.modeling.selection import LearnedQueries

model = get_config("common/models/conditional_detr.py").model
model.selection = L(LearnedQueries)(num_queries=100, embed_dim="${..neck.embed_dim}", repeats=1)
model.decoder = L(DetrDecoder)(
    num_layers=6,
    activation_checkpointing=False,
    layer=L(detr_decoder_layer)(embed_dim="${...neck.embed_dim}", num_heads=8, ffn_dim=2048, dropout=0.1),
)
model.heads._target_ = NoObjectHeads
model.criterion = L(Criterion)(
    rules={
        "decoder": L(SupervisionRule)(
            stage="decoder",
            assigner=L(SoftmaxHungarianAssigner)(class_weight=1.0, l1_weight=5.0, giou_weight=2.0, giou_eps=0.0),
            losses={
                "class": L(SoftmaxLoss)(weight=1.0, background=0.1),
                "l1": L(L1Loss)(weight=5.0),
                "giou": L(GIoULoss)(weight=2.0, eps=0.0),
            },
        )
    }
)
model.postprocess = L(SoftmaxPostprocess)(num_detections=100, clip=True)
