"""MS-DETR with DINO's denoising (arXiv 2401.03989, table 2: "DINO + MS-DETR"), 900 queries.

By the authors' word that is Deformable DETR++ with contrastive denoising and MS-DETR's one-to-many supervision, and not
the DINO code base: its positional queries stay those of the first boxes.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import KnownAssigner
from querydet.modeling.criterion import SupervisionRule

model = get_config("common/models/ms_detr.py").model
model.selection.num_queries = 900
model.denoising = get_config("common/models/dino.py").model.denoising
model.criterion.rules.denoising = L(SupervisionRule)(
    stage="decoder", role="denoising", assigner=L(KnownAssigner)(), losses=model.criterion.rules.decoder.losses
)
model.postprocess.num_detections = 300
