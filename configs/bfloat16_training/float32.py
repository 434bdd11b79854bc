"""The quickstart's DINO in half of its iterations, the baseline of what `train.amp` does to a curve."""

from querydet.config import get_config

dataloader = get_config("quick/dino_synthetic.py").dataloader
model = get_config("quick/dino_synthetic.py").model
optimizer = get_config("quick/dino_synthetic.py").optimizer
lr_multiplier = get_config("quick/dino_synthetic.py").lr_multiplier
train = get_config("quick/dino_synthetic.py").train

train.output_dir = "output/bfloat16_training/float32"
train.max_epochs = 4
train.eval_period = 1
train.checkpointer.period = 1
lr_multiplier.milestones = [3]
