"""The same training in bfloat16."""

from .float32 import dataloader, lr_multiplier, model, optimizer, train

train.amp.enabled = True
train.output_dir = "output/bfloat16_training/bfloat16"
