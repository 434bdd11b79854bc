"""How Detic trains detectors with queries on LVIS: data, optimizer and schedule of its configs of batch 16.

28 passes over the images, without their repeats. The released base config has batches of 32; the paper of DETA, and the
configs of H-Detic named "2x", have 16. There is no warm-up. Mixed precision is off.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.engine.iteration_schedule import MultiStepIterations

dataloader = get_config("common/data/lvis.py").dataloader
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = L(MultiStepIterations)(milestones=[150000], gamma=0.1, warmup_iterations=0, warmup_factor=0.001)
train = get_config("common/train.py").train

optimizer.lr = 2e-4
optimizer.lr_factors = {"backbone": 0.1, "sampling_offsets": 0.1}
train.max_iter = 180000
train.eval_period = "30000it"
train.clip_grad_norm = 0.01  # a tenth of DETR's
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
