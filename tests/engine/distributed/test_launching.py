"""The command line."""

import pytest
import torch

from querydet.engine import argument_parser
from querydet.engine.distributed.launching import check_arguments


def arguments(*words):
    return argument_parser().parse_args(["--config-file", "x.py", *words])


def test_overrides_follow_the_options():
    args = arguments("--num-gpus", "0", "--resume", "train.max_iter=20", "optimizer.lr=1e-5")
    assert (args.num_gpus, args.resume, args.eval_only) == (0, True, False)
    assert args.opts == ["train.max_iter=20", "optimizer.lr=1e-5"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-gpus", "-1"], "at least 0"),
        (["--num-gpus", "1", "--num-processes", "2"], "one process per GPU"),
        (["--num-gpus", "9999"], "--num-gpus 0 runs on the CPU"),
        (["--num-gpus", "0", "--num-machines", "2"], "--dist-url"),
        (["--config-file", ""], "--config-file is missing"),
    ],
)
def test_contradictions_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(arguments(*words))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_default_of_one_gpu_says_what_to_do_without_one():
    with pytest.raises(ValueError, match="--num-gpus 0 runs on the CPU"):
        check_arguments(arguments())


@pytest.mark.parametrize("word", ["--num-gpus", "--resume", "--num-gpus=0"])
def test_options_behind_changes_of_the_config_are_named(word):
    words = ["--config-file", "a.py", "train.device=cpu", word, "0"]
    with pytest.raises(
        ValueError, match=rf"{word} stands behind train.device=cpu: put options before changes of the co"
    ):
        check_arguments(argument_parser().parse_args(words))
