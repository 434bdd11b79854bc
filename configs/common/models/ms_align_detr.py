"""MS-DETR with Align-DETR's losses (arXiv 2401.03989, table 4: "Align loss + MS-DETR"), on `ms_dino.py`.

No code of it is public. Ours: MS-DETR's one-to-many branch takes the place of Align-DETR's copies, so that every layer
is matched one to one; the class loss is IoU-aware in both branches and for denoising queries, and the pairs of the
one-to-many branch are weighed by their rank, as in the released code of DAC-DETR. The encoder keeps its focal loss.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.align import IoUAwareClassLoss, RankWeights

_rank = {"alpha": 0.25, "floor": 0.01, "iou_eps": 0.0}

model = get_config("common/models/ms_dino.py").model
_rules = model.criterion.rules
for _name in ("decoder", "one_to_many", "denoising"):
    _rules[_name].losses["class"] = L(IoUAwareClassLoss)(weight=1.0, gamma=2.0, **_rank)
_rules.one_to_many.assigner.order = "object"
_rules.one_to_many.pair_weights = L(RankWeights)(tau=1.5, **_rank)
