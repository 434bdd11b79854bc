"""MS-DETR with H-DETR on Deformable DETR++ (arXiv 2401.03989, table 2): 1500 extra queries; the primary ones are
supervised one to many as well.
"""

from querydet.config import get_config

_hybrid = get_config("common/models/h_detr.py").model

model = get_config("common/models/ms_detr.py").model
model.selection = _hybrid.selection
model.criterion.rules.decoder.normalizer = _hybrid.criterion.rules.decoder.normalizer
