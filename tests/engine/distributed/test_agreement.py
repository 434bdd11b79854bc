"""Numbers that processes agree on."""

import math

import torch

from querydet.engine.distributed.agreement import largest, mean_losses
from tests.engine.two_processes import in_two_processes


def test_each_number_is_the_largest_of_all_processes(tmp_path):
    values = [[1, 5.5, False], [3, -1, True]]
    assert in_two_processes(lambda rank: largest(values[rank]), tmp_path) == [[3.0, 5.5, 1.0]] * 2
    assert largest(values[0]) == [1.0, 5.5, 0.0]  # one process


def test_losses_are_averaged_by_name_and_a_nan_of_one_is_of_all(tmp_path):
    losses = [
        {"box": torch.tensor(2.0), "class": torch.tensor(1.0)},
        {"class": torch.tensor(math.nan), "box": torch.tensor(4.0)},
    ]
    first, second = in_two_processes(lambda rank: mean_losses(losses[rank]), tmp_path)
    assert first["box"] == second["box"] == 3.0
    assert math.isnan(first["class"])
    assert math.isnan(second["class"])
    assert mean_losses(losses[0]) == {"box": 2.0, "class": 1.0}
