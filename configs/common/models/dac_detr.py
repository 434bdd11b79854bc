"""DAC-DETR (NeurIPS 2023) as its authors release it: on Deformable DETR++, with denoising and Align-DETR's losses.

A second stream without self-attention is supervised one to many. The constants are those of the released code
("dac_cdn_ice"), oversights included: the score of a pair has the class of the second stream and the IoU of the first,
at most 75 queries are positive however many there are, and every object counts three times in the divisor.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.align import IoUAwareClassLoss, RankWeights
from querydet.modeling.assigners import KnownAssigner
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.modeling.losses import GIoULoss, L1Loss
from querydet.modeling.postprocess import NMSPostprocess

_plain = get_config("common/models/dac_detr_plain.py").model
_many = _plain.criterion.rules.second_stream.assigner
_quality = {"alpha": 0.25, "floor": 0.01, "iou_eps": 0.0}
_losses = {
    "class": L(IoUAwareClassLoss)(weight=1.0, gamma=2.0, **_quality),
    "l1": L(L1Loss)(weight=5.0),
    "giou": L(GIoULoss)(weight=2.0, eps=0.0),
}

model = get_config("common/models/deformable_detr_pp.py").model
model._target_ = _plain._target_
model.selection.num_queries = 900
model.decoder.second_stream = _plain.decoder.second_stream
model.denoising = get_config("common/models/dino.py").model.denoising
model.denoising.box_noise = 0.4
model.criterion = L(Criterion)(
    rules={
        "decoder": L(SupervisionRule)(stage="decoder", assigner=model.criterion.rules.decoder.assigner, losses=_losses),
        "second_stream": L(SupervisionRule)(
            stage="decoder",
            branch="second_stream",
            assigner=_many,
            losses=_losses,
            normalizer=_plain.criterion.rules.second_stream.normalizer,
            pair_weights=L(RankWeights)(tau=1.5, **_quality),
        ),
        "denoising": L(SupervisionRule)(stage="decoder", role="denoising", assigner=L(KnownAssigner)(), losses=_losses),
        "denoising_second_stream": L(SupervisionRule)(
            stage="decoder", role="denoising", branch="second_stream", assigner=L(KnownAssigner)(), losses=_losses
        ),
        "encoder": model.criterion.rules.encoder,
    }
)
model.postprocess = L(NMSPostprocess)(num_detections=300, iou_threshold=0.8, max_candidates=10000, on_one_to_one=True)
