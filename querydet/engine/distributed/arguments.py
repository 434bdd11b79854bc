"""The command line of a run: Detectron2's options, read without loading Detectron2, and our own."""

import argparse

_EXAMPLES = """
Examples:
  one GPU            train_net.py --config-file projects/dino/configs/dino_r50_4scale_12ep.py
  eight GPUs         train_net.py --config-file ... --num-gpus 8
  no GPU             train_net.py --config-file quick/dino_synthetic.py --num-gpus 0
  two CPU processes  train_net.py --config-file ... --num-gpus 0 --num-processes 2
  torchrun           torchrun --nproc-per-node 8 --max-restarts 3 train_net.py --config-file ... --resume
  Slurm              querydet slurm --nodes 2 --gpus-per-node 8 --hours 24 --config-file ...
  try and estimate   train_net.py --config-file ... --num-gpus 8 --dry-run
  change values      train_net.py --config-file ... train.max_epochs=24 optimizer.lr=5e-5
  continue longer    train_net.py --config-file ... --resume train.max_epochs=36
  evaluate           train_net.py --config-file ... --eval-only train.init_checkpoint=model.pth
"""


def argument_parser() -> argparse.ArgumentParser:
    """Build the parser of ``train_net.py``; overrides (``key=value``) come last.

    Names and defaults are those of `detectron2.engine.default_argument_parser`, whose module loads the training engine.
    """
    parser = argparse.ArgumentParser(epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="", metavar="FILE", help="the config: a path, or a shipped one")
    parser.add_argument("--resume", action="store_true", help="continue the run in train.output_dir, if there is one")
    parser.add_argument("--eval-only", action="store_true", help="evaluate train.init_checkpoint, do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="of each machine; 0: the CPU (default %(default)s)")
    parser.add_argument("--num-machines", type=int, default=1, help="default %(default)s")
    parser.add_argument("--machine-rank", type=int, default=0, help="of this machine, from 0 (default %(default)s)")
    # A free port: two runs on one machine do not collide.
    parser.add_argument("--dist-url", default="auto", help="tcp://HOST:PORT of machine 0; auto: a free port here")
    parser.add_argument(
        "--num-processes", type=int, default=1, help="number of CPU processes per machine, with --num-gpus 0"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, train and evaluate a little, estimate time and memory",
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="key=value", help="changes of the config, behind all options"
    )
    return parser
