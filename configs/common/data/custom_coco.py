"""Your own data: four paths, in a config of your own or on the command line.

    dataloader.train.dataset.annotations=my/train.json dataloader.train.dataset.images=my/images
    dataloader.test.dataset.annotations=my/val.json    dataloader.test.dataset.images=my/images

Class names come from the json; set ``model.num_classes`` to their number.
"""

from .coco import dataloader

dataloader.train.dataset.annotations = "datasets/custom/annotations/train.json"
dataloader.train.dataset.images = "datasets/custom/images"
dataloader.test.dataset.annotations = "datasets/custom/annotations/val.json"
dataloader.test.dataset.images = "datasets/custom/images"
