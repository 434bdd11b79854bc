"""DETA, table 6: 1 and 4 copies of each object in the first and second stage, and suppression; R50, 12 epochs."""

from detectron2.config import LazyCall as L

from querydet.modeling.postprocess import NMSPostprocess

from .deta_base_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.criterion.rules.encoder.assigner.copies = 1
model.criterion.rules.decoder.assigner.copies = 4
model.postprocess = L(NMSPostprocess)(num_detections=100, iou_threshold=0.7)
train.output_dir = "output/deta_copies_1_4_12ep"
