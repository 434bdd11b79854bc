"""DETA (arXiv 2212.06137): its improved baseline with assignment by overlap in both stages, and suppression.

The constants are those of the released code. ``matcher`` does as Detectron2's, with all its consequences: an object
that overlaps no proposal makes every query positive, and the random cap and K limit the damage. Training without random
draws and without that: ``positive_fraction=None`` and ``querydet.modeling.assigners.ranking.ThresholdMatcher``.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import IoUAssigner
from querydet.modeling.assigners.ranking import OverlapMatcher
from querydet.modeling.meta_arch import DETA
from querydet.modeling.postprocess import NMSPostprocess
from querydet.modeling.selection import NMSSelection

model = get_config("common/models/deta_baseline.py").model
model._target_ = DETA

model.selection._target_ = NMSSelection
model.selection.iou_threshold = 0.9
model.selection.max_candidates = 1000
model.selection.level_share = None

_decoder, _encoder = model.criterion.rules.decoder, model.criterion.rules.encoder
_decoder.assigner = L(IoUAssigner)(
    matcher=L(OverlapMatcher)(thresholds=[0.6], labels=[0, 1], allow_low_quality_matches=True),
    max_queries=4,
    positive_fraction=0.25,
    num_samples=None,
    iou_eps=0.0,
)
_decoder.assign_once = True
_encoder.assigner = L(IoUAssigner)(
    matcher=L(OverlapMatcher)(thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True),
    max_queries=4,
    positive_fraction=0.5,
    num_samples=256,
    iou_eps=0.0,
)
model.postprocess = L(NMSPostprocess)(num_detections=100, iou_threshold=0.7, max_candidates=10000, clip=True)
