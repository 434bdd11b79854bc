"""Group DETR, table 1 (c): 11 groups, all trained, from the encoder of (a) and (b); R50, 50 epochs.

The encoder, with everything in front of it, is that of ``conditional_detr_r50_50ep.py``, which has to be trained first.
"""

from .group_conditional_detr_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

train.init_checkpoint = "output/conditional_detr_r50_50ep/model_final.pth"
train.init_parts = ["backbone", "neck", "encoder"]
train.output_dir = "output/group_conditional_detr_r50_table1_c_50ep"
