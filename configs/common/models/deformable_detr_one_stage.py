"""Deformable DETR with learned reference points instead of the first stage (arXiv 2010.04159, section 4.1).

As it stands, with iterative box refinement; ``model.decoder.refine_boxes=False model.heads.share_layers=True`` gives
the plain model.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.selection import LearnedPoints

model = get_config("common/models/deformable_detr.py").model
model.selection = L(LearnedPoints)(num_queries=300, embed_dim="${..neck.embed_dim}")
model.heads.initial_size_logit = -2.0
del model.criterion.rules.encoder
