"""DINO, table 4, row 3: pure query selection with DN-DETR's denoising, without looking forward twice."""

from detectron2.config import LazyCall as L

from querydet.modeling.selection import SelectedFeatures

from .dino_ablation_row4_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.content = L(SelectedFeatures)()
train.output_dir = "output/dino_ablation_row3_12ep"
