"""Learning-rate schedules written in iterations, for data whose epochs are no measure of a run.

With repeated images (`querydet.data.repeat_factors`), the length of an epoch depends on the data; papers on LVIS count
iterations.
"""

import math
from collections.abc import Sequence

from querydet.engine.solver import MultiStepEpochs


class MultiStepIterations(MultiStepEpochs):
    """A schedule that drops the learning rate after given iterations, with an optional linear warm-up.

    Args:
        milestones: iterations after which the rate is multiplied by ``gamma``.
        gamma: factor of each drop.
        warmup_iterations: length of the linear warm-up.
        warmup_factor: factor at the first iteration of the warm-up.

    Raises:
        ValueError: milestones that do not increase, or numbers that are negative or not finite.
    """

    def __init__(
        self,
        milestones: Sequence[int] = (),
        gamma: float = 0.1,
        warmup_iterations: int = 0,
        warmup_factor: float = 0.001,
    ) -> None:
        if not 0 <= warmup_iterations < math.inf:
            raise ValueError(
                f"lr_multiplier.warmup_iterations has to be a finite number of at least 0, got {warmup_iterations}"
            )
        super().__init__(milestones, gamma, warmup_iterations, warmup_factor)

    def factor(self, iteration: int, iterations_per_epoch: int) -> float:
        """Compute the factor on the learning rate of a step, counted from 0, whatever the length of an epoch is."""
        return super().factor(iteration, 1)
