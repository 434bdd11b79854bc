"""DETA, Swin-L, 24 epochs on Objects365: what the fine-tuning of table 4 starts from.

Published: the training images alone, "2x", and recomputation in the backbone (discussions in the authors' repository).
The drop after 20 epochs, batches of 16, the image sizes of COCO (the authors had larger ones and do not say which) and
the learning rates are ours; so is val's first 5000 images as the test.
"""

from querydet.config import get_config

from .deta_swin_l_24ep import lr_multiplier, model, optimizer, train

dataloader = get_config("common/data/objects365.py").dataloader
dataloader.train.dataset = dataloader.train.dataset.datasets[0]
model.num_classes = 365
train.output_dir = "output/deta_swin_l_o365_24ep"
