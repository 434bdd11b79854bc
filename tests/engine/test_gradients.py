"""Several processes and micro-batches compute the gradients of one process with the whole batch."""

import pytest
import torch

from tests.engine.gradients import gradients, in_processes
from tests.models import COMPOSITIONS

# those of the papers and of their combinations; the others differ in what does not concern a batch
NAMES = (
    "deformable_detr",
    "dino",
    "dn_detr",
    "group_deformable_detr_pp",
    "h_detr",
    "ms_detr",
    "deta",
    "group_dino",
    "ms_dino",
    "ms_dn_detr",
    "ms_group_detr",
    "ms_h_detr",
    "mask_deformable_detr",
    "dino_masks",
    "group_mask2former",
)


@pytest.fixture(scope="module")
def of_four_processes(tmp_path_factory):
    """Every composition, one image a process."""
    return in_processes(4, COMPOSITIONS, 1, str(tmp_path_factory.mktemp("gradients")))


def assert_equal_gradients(found, wanted):
    for case, (left, right) in enumerate(zip(found, wanted, strict=True)):
        assert left.keys() == right.keys()
        assert any(value.any() for value in right.values())
        for key, value in right.items():
            torch.testing.assert_close(left[key], value, rtol=1e-6, atol=1e-9, msg=f"{key} of case {case}")


def test_two_processes_with_two_micro_batches_equal_one_process(tmp_path):
    """One test, as the processes are started once for all compositions."""
    found = in_processes(2, NAMES, 2, str(tmp_path))
    for name in NAMES:
        assert_equal_gradients(found[name], gradients(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_four_processes_equal_one_process(name, of_four_processes):
    assert_equal_gradients(of_four_processes[name], gradients(name))


@pytest.mark.slow
def test_processes_with_different_numbers_of_images_equal_one_process(tmp_path):
    """Four images in three processes."""
    names = ("deformable_detr", "dino", "group_dino", "deta")
    found = in_processes(3, names, 1, str(tmp_path))
    for name in names:
        assert_equal_gradients(found[name], gradients(name))
