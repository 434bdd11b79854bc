"""DAC-DETR's idea alone (NeurIPS 2023) on two-stage Deformable DETR: a second stream without self-attention.

No code of it is public. The base is that of MS-DETR, which reports the model: feed-forward blocks of width 2048. The
assignment is that of the released system (`dac_detr.py`), the losses are Deformable DETR's. Ours: the divisor counts
each object three times, as in that system; a query with pairs of two classes has that of the object listed last.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import OneToManyAssigner
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.decoder import SecondStream
from querydet.modeling.meta_arch import DACDETR
from querydet.modeling.normalizers import MeanObjects

model = get_config("common/models/deformable_detr.py").model
model._target_ = DACDETR
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.ffn_dim = 2048
model.decoder.second_stream = L(SecondStream)()
model.criterion.rules.second_stream = L(SupervisionRule)(
    stage="decoder",
    branch="second_stream",
    assigner=L(OneToManyAssigner)(
        alpha=0.3,
        threshold=0.4,
        max_queries=6,
        forced=True,
        positive_fraction=None,
        positive_limit=75,
        iou_of="one_to_one",
        order="object",
        merge_with=None,
    ),
    losses=model.criterion.rules.decoder.losses,
    normalizer=L(MeanObjects)(times=3.0),
)
