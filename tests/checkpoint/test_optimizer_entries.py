"""A state of an optimizer is compared with the parameters of a run before anything loads it."""

import pytest
import torch

from querydet.checkpoint.optimizer_entries import check_optimizer

SHAPES = [[torch.Size([8, 3])], [torch.Size([4]), torch.Size([2])]]


def saved(steps=1):
    groups = [[torch.nn.Parameter(torch.ones(shape)) for shape in group] for group in SHAPES]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups])
    for _ in range(steps):
        sum(parameter.sum() for group in groups for parameter in group[:1]).backward()  # the last has no gradient
        optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_own_state_passes(steps):
    check_optimizer(saved(steps), SHAPES, "x.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda content: content["state"][1].update(exp_avg=torch.ones(5)),
            r"parameter 1, .*\(4,\), exp_avg is of the sh",
        ),
        (lambda content: content["state"][1].update(step=torch.ones(2)), "step is no number"),
        (
            lambda content: content["state"].update({2: {"step": torch.tensor(1.0)}}),
            "parameter 2, .*exp_avg is missing",
        ),
        (lambda content: content["param_groups"].pop(), r"groups of \[1\] parameters, the optimizer of .* \[1, 2\]"),
        (lambda content: content["param_groups"].reverse(), r"groups of \[2, 1\]"),
        (lambda content: content["param_groups"][0].update(params="ab"), r"groups of \[None, 2\]"),
        (lambda content: content["param_groups"][0].update(params=[{}]), "has no number"),
    ],
)
def test_another_state_is_refused_by_name(change, message):
    content = saved()
    change(content)
    with pytest.raises(ValueError, match=f"x.pth is not of this run: .*{message}"):
        check_optimizer(content, SHAPES, "x.pth")
