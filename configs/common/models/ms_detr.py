"""MS-DETR (arXiv 2401.03989) on Deformable DETR++: its placement (c), which all released models have.

The constants are those of the released code: in the decoder, one-to-one losses have half the class weight of the
one-to-many ones; the encoder is matched by its anchors alone; at most a quarter of the queries is positive.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import HungarianAssigner, OneToManyAssigner
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.modeling.decoder.one_to_many import OneToManyBranch
from querydet.modeling.layers import FeedForward
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.modeling.meta_arch import MSDETR


def _losses(class_weight):
    return {
        "class": L(FocalLoss)(weight=class_weight, alpha=0.25, gamma=2.0),
        "l1": L(L1Loss)(weight=5.0),
        "giou": L(GIoULoss)(weight=2.0, eps=0.0),
    }


_hungarian = L(HungarianAssigner)(class_weight=2.0, l1_weight=5.0, giou_weight=2.0, alpha=0.25, gamma=2.0, giou_eps=0.0)
_by_anchors = L(HungarianAssigner)(class_weight=0.0, l1_weight=5.0, giou_weight=2.0, giou_eps=0.0, boxes="start")
_one_to_many = L(OneToManyAssigner)(
    alpha=0.3, threshold=0.4, max_queries=6, forced=True, positive_fraction=0.25, merge_with=None
)

model = get_config("common/models/deformable_detr_pp.py").model
model._target_ = MSDETR
model.decoder.layer.order = ["cross_attention", "self_attention", "ffn"]
model.decoder.layer.one_to_many = L(OneToManyBranch)(
    after="cross_attention",
    ffn=L(FeedForward)(embed_dim="${...embed_dim}", ffn_dim="${...ffn_dim}", dropout="${...dropout}"),
    extra_groups=False,
)
model.heads.separate_one_to_many = []
model.criterion = L(Criterion)(
    rules={
        "decoder": L(SupervisionRule)(stage="decoder", assigner=_hungarian, losses=_losses(1.0)),
        "one_to_many": L(SupervisionRule)(
            stage="decoder", branch="one_to_many", assigner=_one_to_many, losses=_losses(2.0)
        ),
        "encoder": L(SupervisionRule)(stage="encoder", assigner=_by_anchors, losses=_losses(2.0), class_agnostic=True),
    }
)
