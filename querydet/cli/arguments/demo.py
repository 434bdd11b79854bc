"""Serve a web page on this machine: drop an image, choose a checkpoint and a threshold, see boxes, classes and scores.

    querydet demo output/quickstart                                   # all checkpoints of a run
    querydet demo --config-file CONFIG --weights a.pth b.pth          # checkpoints of one config
    querydet demo dino_r50_4scale_12ep output/mine train.device=cpu   # from the model zoo, and a run

Needs Flask: pip install 'querydet[demo]'. The server listens only on 127.0.0.1 and works without a network; from
another machine use a tunnel: ssh -L 7860:127.0.0.1:7860 HOST. Stop it with Ctrl-C.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser, split_overrides


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("demo", __doc__)
    parser.add_argument("models", nargs="*", metavar="RUN|NAME", help="folders of runs, or names of the model zoo")
    parser.add_argument("--config-file", help="config of --weights")
    parser.add_argument("--weights", nargs="+", default=[], metavar="FILE", help="checkpoints of --config-file")
    parser.add_argument("--threshold", type=float, default=0.3, help="where the slider starts (default %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="0: any that is free (default %(default)s)")
    given, overrides = split_overrides(argv)
    args = parser.parse_args(given)
    args.overrides = overrides
    return args
