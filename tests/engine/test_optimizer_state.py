"""A state of an optimizer that is not that of its parameters is refused before a kernel uses it."""

import pytest
import torch

from querydet.engine.optimizer_state import check_optimizer_state


def optimizer_with(change):
    parameters = [torch.nn.Parameter(torch.ones(8, 3)), torch.nn.Parameter(torch.ones(4))]
    optimizer = torch.optim.AdamW(parameters)
    sum(parameter.sum() for parameter in parameters).backward()
    optimizer.step()
    content = optimizer.state_dict()
    change(content["state"][1])
    other = torch.optim.AdamW(parameters)
    other.load_state_dict(content)
    return other


def test_the_own_state_and_no_state_pass():
    check_optimizer_state(optimizer_with(lambda state: None))
    check_optimizer_state(torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(exp_avg=torch.ones(1)), r"exp_avg is of the shape \(1,\)"),
        (lambda state: state.update(exp_avg=torch.tensor(0.0)), r"exp_avg is of the shape \(\)"),
        (lambda state: state.update(exp_avg_sq=torch.ones(4, 4)), r"exp_avg_sq is of the shape \(4, 4\)"),
        (lambda state: state.pop("exp_avg"), "exp_avg is missing"),
        (lambda state: state.update(step=torch.tensor(-1.0)), "step is no number of steps"),
        (lambda state: state.update(step=torch.tensor(float("nan"))), "step is no number of steps"),
    ],
)
def test_other_states_are_refused(change, message):
    with pytest.raises(ValueError, match=rf"not of this model: .*\(4,\), {message}"):
        check_optimizer_state(optimizer_with(change))
