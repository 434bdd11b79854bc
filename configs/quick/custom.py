"""Your own data, photographs of about 640x480, with a small DINO from scratch: no download, no GPU needed.

Annotations in COCO format and one folder of images; copy this file, or change the keys on the command line.
"""

from .dino_bccd import dataloader, lr_multiplier, model, optimizer, train

dataloader.train.dataset.annotations = "datasets/custom/train.json"
dataloader.test.dataset.annotations = "datasets/custom/val.json"
dataloader.train.dataset.images = dataloader.test.dataset.images = "datasets/custom/images"
model.num_classes = 3  # categories in the json
train.output_dir = "output/custom"
