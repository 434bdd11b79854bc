"""The improved baseline of DETA (arXiv 2212.06137): two-stage Deformable DETR with 5 levels and 900 queries.

The constants are those of the released code. The content of a query is that of its box and the features of its token.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.selection import ProjectedFeatures

model = get_config("common/models/deformable_detr.py").model
model.neck.num_levels = 5
model.selection.num_queries = 900
model.selection.content = L(ProjectedFeatures)(embed_dim="${...neck.embed_dim}")
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.dropout = 0.0
    _layer.ffn_dim = 2048
for _rule in model.criterion.rules.values():
    _rule.losses["class"].weight = 1.0
