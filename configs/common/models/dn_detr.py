"""DN-DETR (arXiv 2203.01305) on DAB-Deformable-DETR: training also reconstructs noised objects.

The constants are those of the released code, model "DN-DAB-Deformable-DETR".
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.assigners import KnownAssigner
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.meta_arch import DNDETR
from querydet.modeling.queries import Denoising, FixedGroups

model = get_config("common/models/dab_deformable_detr.py").model
model._target_ = DNDETR
model.selection.indicator = True
model.denoising = L(Denoising)(
    num_classes="${..num_classes}",
    embed_dim="${..neck.embed_dim}",
    groups=L(FixedGroups)(num_groups=5, max_objects=100),
    label_noise=0.2,
    box_noise=0.4,
    num_embeddings=None,
    indicator="${..selection.indicator}",
    inverse_sigmoid_eps="${..heads.inverse_sigmoid_eps}",
)
model.criterion.rules.denoising = L(SupervisionRule)(
    stage="decoder", role="denoising", assigner=L(KnownAssigner)(), losses=model.criterion.rules.decoder.losses
)
