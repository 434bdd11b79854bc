"""MS-DETR with DINO's denoising (arXiv 2401.03989, table 2: "DINO + MS-DETR"), 900 queries.

By the authors' word that is Deformable DETR++ with contrastive denoising and MS-DETR's one-to-many supervision, and not
the DINO code base. It has DINO's ideas, which `MSDINO` checks: contrastive denoising, mixed query selection, looking
forward twice. Of DINO's settings it has neither the positional queries, which stay those of the first boxes, nor the
selection by class scores, the output norm and the shared heads.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import KnownAssigner
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.meta_arch import MSDINO

model = get_config("common/models/ms_detr.py").model
model._target_ = MSDINO
model.selection.num_queries = 900
model.denoising = get_config("common/models/dino.py").model.denoising
model.criterion.rules.denoising = L(SupervisionRule)(
    stage="decoder", role="denoising", assigner=L(KnownAssigner)(), losses=model.criterion.rules.decoder.losses
)
model.postprocess.num_detections = 300
