"""Align-DETR (arXiv 2304.07527) on DINO, 4 scales: class targets that tell how good a box is, two queries per object.

The constants are those of the released code, which is built on detrex's DINO: heads of their own in every layer, the
sine embedding of Deformable DETR, and only the stem of the backbone is frozen. All layers but the last are matched with
two copies of each object; the second one counts exp(-1 / 1.5).
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.align import IoUAwareClassLoss, RankWeights
from querydet.modeling.assigners import Copies, HungarianAssigner, KnownAssigner
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.modeling.losses import GIoULoss, L1Loss
from querydet.modeling.meta_arch import AlignDETR


def _assigner(copies):
    return L(HungarianAssigner)(
        class_weight=2.0,
        l1_weight=5.0,
        giou_weight=2.0,
        alpha=0.25,
        gamma=2.0,
        giou_eps=1e-6,
        copies=L(Copies)(counts=copies, max_part=0.5, carry_over=False),
    )


_losses = {
    "class": L(IoUAwareClassLoss)(weight=1.0, alpha=0.25, gamma=2.0, floor=0.01, iou_eps=1e-6),
    "l1": L(L1Loss)(weight=5.0),
    "giou": L(GIoULoss)(weight=2.0, eps=1e-6),
}
_by_rank = L(RankWeights)(tau=1.5, alpha=0.25, floor=0.01, iou_eps=1e-6)

model = get_config("common/models/dino.py").model
model._target_ = AlignDETR
model.backbone.freeze_at = 1
model.neck.position_embedding.temperature = 10000.0
model.neck.position_embedding.offset = -0.5
model.heads.share_layers = False
model.denoising.num_embeddings = "${..num_classes}"
model.criterion = L(Criterion)(
    rules={
        "decoder": L(SupervisionRule)(
            stage="decoder", assigner=_assigner([2, 2, 2, 2, 2, 1]), losses=_losses, pair_weights=_by_rank
        ),
        "encoder": L(SupervisionRule)(stage="encoder", assigner=_assigner(2), losses=_losses, pair_weights=_by_rank),
        "denoising": L(SupervisionRule)(stage="decoder", role="denoising", assigner=L(KnownAssigner)(), losses=_losses),
    }
)
