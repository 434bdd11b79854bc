"""The command line of a run, which is Detectron2's with a few options more."""

import pytest
from detectron2.engine import default_argument_parser

from querydet.engine.distributed.arguments import argument_parser

OWN = {"num_processes": 1, "dry_run": False, "dist_url": "auto"}


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--config-file", "x.py", "--resume", "a.b=1", "--c"],
        ["--eval-only", "--num-gpus", "0", "--num-machines", "2", "--machine-rank", "1", "train.max_iter=1"],
    ],
)
def test_options_of_detectron2_are_read_as_it_reads_them(argv: list[str]) -> None:
    assert vars(argument_parser().parse_args(argv)) == vars(default_argument_parser().parse_args(argv)) | OWN


def test_own_options() -> None:
    args = argument_parser().parse_args(["--num-processes", "2", "--dry-run", "--dist-url", "tcp://a:1"])
    assert (args.num_processes, args.dry_run, args.dist_url) == (2, True, "tcp://a:1")
