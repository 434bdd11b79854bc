"""DINO, table 4, row 5: mixed query selection and looking forward twice, with DN-DETR's denoising (100 queries)."""

from detectron2.config import LazyCall as L

from querydet.modeling.detector import QueryDetector
from querydet.modeling.queries import Denoising, GroupsPerImage

from .dino_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

model._target_ = QueryDetector
model.denoising = L(Denoising)(
    num_classes="${..num_classes}",
    embed_dim="${..neck.embed_dim}",
    groups=L(GroupsPerImage)(num_queries=100, max_objects=None),
    label_noise=0.2,
    box_noise=0.4,
    num_embeddings=None,
    indicator=False,
    inverse_sigmoid_eps="${..heads.inverse_sigmoid_eps}",
)
train.output_dir = "output/dino_ablation_row5_12ep"
