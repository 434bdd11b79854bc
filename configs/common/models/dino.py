"""DINO (arXiv 2203.03605), 4 scales: contrastive denoising, mixed query selection, looking forward twice.

The constants are those of the released code and its launch scripts. Where paper and code differ, the code's value
stands: box noise 1.0 (the 0.4 of table 8 is a misprint by the authors' own word), 1e-6 in the IoU.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import HungarianAssigner, KnownAssigner
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.modeling.decoder import BoxPosition
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.modeling.meta_arch import DINO
from querydet.modeling.queries import ContrastiveDenoising, GroupsPerImage
from querydet.modeling.selection import LearnedContent

_assigner = L(HungarianAssigner)(class_weight=2.0, l1_weight=5.0, giou_weight=2.0, alpha=0.25, gamma=2.0, giou_eps=1e-6)
_losses = {
    "class": L(FocalLoss)(weight=1.0, alpha=0.25, gamma=2.0),
    "l1": L(L1Loss)(weight=5.0),
    "giou": L(GIoULoss)(weight=2.0, eps=1e-6),
}

model = get_config("common/models/deformable_detr.py").model
model._target_ = DINO
model.neck.position_embedding.temperature = 20.0
model.neck.position_embedding.offset = 0.0

model.selection.num_queries = 900
model.selection.objectness = False
model.selection.box_embedding = None
model.selection.content = L(LearnedContent)(
    num_queries="${..num_queries}", embed_dim="${...neck.embed_dim}", init="xavier"
)
model.denoising = L(ContrastiveDenoising)(
    num_classes="${..num_classes}",
    embed_dim="${..neck.embed_dim}",
    groups=L(GroupsPerImage)(num_queries=100, max_objects=None),
    label_noise=0.5,
    box_noise=1.0,
    num_embeddings=None,
    inverse_sigmoid_eps="${..heads.inverse_sigmoid_eps}",
)
model.decoder.query_position = L(BoxPosition)(embed_dim="${...neck.embed_dim}", frame="image")
model.decoder.output_norm = True
model.decoder.look_forward_twice = True
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.dropout = 0.0
    _layer.ffn_dim = 2048
model.heads.share_layers = True
model.heads.inverse_sigmoid_eps = 1e-3
model.criterion = L(Criterion)(
    rules={
        "decoder": L(SupervisionRule)(stage="decoder", assigner=_assigner, losses=_losses),
        "encoder": L(SupervisionRule)(stage="encoder", assigner=_assigner, losses=_losses),
        "denoising": L(SupervisionRule)(stage="decoder", role="denoising", assigner=L(KnownAssigner)(), losses=_losses),
    }
)
model.postprocess.num_detections = 300
