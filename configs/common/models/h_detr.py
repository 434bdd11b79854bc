"""H-DETR (arXiv 2207.13080) on Deformable DETR++: 1500 more queries in training, with every object offered 6 times."""

from detectron2.config import LazyCall as L

from querydet.config import deeper, get_config
from querydet.modeling.normalizers import MeanRepeatedObjects
from querydet.modeling.selection import HybridSelection, LearnedContent

model = get_config("common/models/deformable_detr_pp.py").model
model.selection = L(HybridSelection)(
    selection=deeper(model.selection),
    extra_queries=1500,
    extra_content=L(LearnedContent)(num_queries="${..extra_queries}", embed_dim="${...neck.embed_dim}", init="normal"),
    repeats=6,
    extra_weight=1.0,
)
model.criterion.rules.decoder.normalizer = L(MeanRepeatedObjects)()
