"""Drops at iterations do not depend on the length of an epoch."""

import pytest

from querydet.engine.iteration_schedule import MultiStepIterations


@pytest.mark.parametrize("epoch", [1, 4, 1000])
def test_the_rate_drops_after_the_given_iterations(epoch):
    schedule = MultiStepIterations(milestones=[3, 5], gamma=0.5, warmup_iterations=2, warmup_factor=0.1)
    factors = [schedule.factor(iteration, epoch) for iteration in range(7)]
    assert factors == pytest.approx([0.1, 0.55, 1, 0.5, 0.5, 0.25, 0.25])


@pytest.mark.parametrize("options", [{"warmup_iterations": -1}, {"milestones": [5, 3]}, {"gamma": -1.0}])
def test_bad_numbers_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"lr_multiplier.{name}"):
        MultiStepIterations(**options)
