"""The DINO of ``dino_synthetic.py`` with every measure: ATD, instability, recall by layer, duplicates, calibration.

Evaluates what that config has trained:
``train_net.py --config-file quick/dino_synthetic_measures.py --num-gpus 0 --eval-only train.init_checkpoint=...``
"""

from querydet.config import get_config

from .dino_synthetic import dataloader, lr_multiplier, model, optimizer, train

_evaluators = get_config("common/evaluators.py").evaluators
del _evaluators.lvis  # for LVIS's annotations
dataloader.evaluator = list(_evaluators.values())
train.output_dir = "output/quick_measures"
