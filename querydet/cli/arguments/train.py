"""The options of ``querydet train`` and ``querydet eval``: those of ``train_net.py``."""

import argparse
from collections.abc import Sequence

from querydet.engine.distributed.arguments import argument_parser
from querydet.utils.precisions import PRECISIONS

_TRAIN = """
Examples:
  one GPU            querydet train --config-file projects/dino/configs/dino_r50_4scale_12ep.py
  eight GPUs         querydet train --config-file ... --num-gpus 8
  no GPU             querydet train --config-file quick/dino_synthetic.py --num-gpus 0
  two CPU processes  querydet train --config-file ... --num-gpus 0 --num-processes 2
  torchrun           torchrun --nproc-per-node 8 --max-restarts 3 -m querydet train --config-file ... --resume
  Slurm              querydet slurm --nodes 2 --gpus-per-node 8 --hours 24 --config-file ...
  try and estimate   querydet train --config-file ... --num-gpus 8 --dry-run
  change values      querydet train --config-file ... train.max_epochs=24 optimizer.lr=5e-5
  continue longer    querydet train --config-file ... --resume train.max_epochs=36
"""
_EVAL = """
Examples:
  a checkpoint       querydet eval --config-file ... --weights model_final.pth
  a run              querydet eval --config-file output/mine/config.yaml --resume
  eight GPUs         querydet eval --config-file ... --weights model_final.pth --num-gpus 8
  for COCO's server  querydet eval --config-file ... --weights model_final.pth --submission my-detector
"""


def make_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of "train" or of "eval", which is training with ``--eval-only`` and a name for the weights."""
    parser = argument_parser()
    parser.prog = f"querydet {command}"
    parser.epilog = _TRAIN if command == "train" else _EVAL
    if command == "eval":
        parser.add_argument("--weights", help="checkpoint to evaluate: train.init_checkpoint")
        parser.add_argument("--precision", choices=PRECISIONS, help="train.eval_precision")
        parser.add_argument(
            "--submission",
            metavar="NAME",
            help="instead of evaluating, write the detections under this name as COCO's server takes them",
        )
        parser.set_defaults(eval_only=True)
    return parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line of "train"."""
    return make_parser("train").parse_args(argv)


def parse_evaluation(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line of "eval"."""
    return make_parser("eval").parse_args(argv)
