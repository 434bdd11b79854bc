"""Print parameters, FLOPs and activations of the models of configs, beside published numbers, and time their parts.

    querydet analyze projects/dino/configs/dino_r50_4scale_12ep.py
    querydet analyze projects/dino/configs/*.py --size 800x1066 --size 800x1333 model.num_classes=91
    querydet analyze CONFIG... --json benchmarks/results/model_facts.json model.num_classes=91

    querydet analyze CONFIG --time inference training --batch-size 2 --repeats 20 train.device=cuda

CONFIG is a config file, the name of a shipped one, or a name of the model zoo. Counting needs neither weights nor data
nor a GPU, and no memory for the model: seconds, for any size. The released models have 91 classes, so that
model.num_classes=91 gives their exact parameter counts; overrides apply to every config.

--time runs the model on noise of the first --size, on train.device, and prints the median milliseconds of each part
(DETA, table 2), the peak memory, and in training what is kept for the backward pass. Times of suppression and of the
assignment depend on the predictions: name a checkpoint by --weights for those of a trained model.

Activations are elements that convolutions, linear layers and matrix products put out, as fvcore counts them.
Columns of the last table, all for inference on one image:
  GFLOPs       2 per multiply-add of convolutions, linear layers and matrix products (PyTorch's FlopCounterMode)
  + operator   the same with the sampling core of deformable attention: 5 multiply-adds per sampled point and channel
  official     GFLOPs counted in the same way on the released code, which reads out all decoder layers
  multiply-adds, + element-wise
               1 per multiply-add, as papers count, and with the element-wise work of the rules of DINO's benchmark
  paper        the printed number, an average over COCO images: compare it to the range of 800x1066 and 800x1333
"""

import argparse
import re
from collections.abc import Sequence

from querydet.cli.options import command_parser, positive


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``items`` is split into ``configs`` and ``overrides``."""
    parser = command_parser("analyze", __doc__)
    parser.add_argument("items", nargs="+", metavar="CONFIG|key=value", help="config files, and changes to all of them")
    parser.add_argument(
        "--size", action="append", metavar="HxW", help="image size, height first; repeat for more (default 800x1066)"
    )
    timed = parser.add_argument_group("times and memory")
    modes = ("inference", "training")
    timed.add_argument("--time", nargs="+", choices=modes, default=[], help="also run the model, and time its parts")
    timed.add_argument("--batch-size", type=positive, default=1, help="images (default %(default)s)")
    timed.add_argument("--objects", type=positive, default=10, help="of an image in training (default %(default)s)")
    timed.add_argument("--repeats", type=positive, default=10, help="for the medians (default %(default)s)")
    timed.add_argument("--warmup", type=int, default=2, help="runs that do not count (default %(default)s)")
    timed.add_argument("--weights", help="checkpoint to load; default: random weights")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers, and what made them, to this file")
    args = parser.parse_intermixed_args(argv)
    args.configs = [item for item in args.items if "=" not in item]
    args.overrides = [item for item in args.items if "=" in item]
    if args.warmup < 0:
        parser.error(f"--warmup must be at least 0, found {args.warmup}")
    args.size = args.size or ["800x1066"]
    if not args.configs:
        parser.error("name at least one config file")
    for size in args.size:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
            parser.error(f"--size must be height x width such as 800x1066, found '{size}'")
    return args
