"""DINO, Swin-L, 5 scales, 26 epochs on Objects365: what the best model of table 3 starts from.

Published (arXiv 2203.03605, D.2 and D.3): data, epochs, batches of 64, the default image sizes, recomputation, mixed
precision and 1000 denoising queries. That these are meant for the pre-training too, bfloat16, the learning rates (the
paper's only ones) and the drop after 22 epochs are ours.
"""

from querydet.config import get_config

from .dino_swin_l_5scale_12ep import lr_multiplier, model, optimizer, train

dataloader = get_config("common/data/objects365.py").dataloader
dataloader.train.total_batch_size = 64
model.num_classes = 365
model.denoising.groups.num_queries = 1000
lr_multiplier.milestones = [22]
train.max_epochs = 26
train.amp.enabled = True
train.activation_checkpointing = ["encoder", "decoder"]
train.output_dir = "output/dino_swin_l_5scale_o365_26ep"
