"""The training objective: supervision rules over a flat tuple of prediction sets."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from querydet.losses import LossTerm, MatchedPairs
from querydet.structures import Assignment, PredictionSet, Role, Stage, Targets

Assigner = Callable[[PredictionSet, Targets], tuple[Assignment, ...]]


class SupervisionRule:
    """One line of a paper's training section: which predictions, assigned how, with which losses.

    Args:
        stage: the predictions of this stage: "encoder" or "decoder".
        role: ... of query groups with this role: "matching" or "denoising".
        assigner: decides which queries are responsible for which objects.
        losses: the terms, each with its weight.
        class_agnostic: tell objects from background only: every object counts as class 0.

    Raises:
        ValueError: for an unknown stage or role, or without losses.
    """

    def __init__(
        self,
        *,
        stage: str,
        assigner: Assigner,
        losses: Sequence[LossTerm],
        role: str = "matching",
        class_agnostic: bool = False,
    ) -> None:
        if not losses:
            raise ValueError(f"the supervision rule for {stage} {role} queries has no losses")
        self.stage, self.role = Stage(stage), Role(role)
        self.assigner = assigner
        self.losses = tuple(losses)
        self.class_agnostic = class_agnostic

    def selects(self, predictions: PredictionSet) -> bool:
        """Whether the rule is about these predictions."""
        return predictions.stage is self.stage and predictions.group.role is self.role

    def __call__(self, predictions: PredictionSet, targets: Targets) -> dict[str, Tensor]:
        """Weighted losses by name, divided by the number of objects."""
        if self.class_agnostic:
            targets = targets.class_agnostic()
        matched = MatchedPairs.gather(self.assigner(predictions, targets), targets)
        # averaged over processes before the lower bound, as DETR does; a group that repeats objects repeats the divisor
        normalizer = max(targets.mean_objects, 1.0) * predictions.group.copies
        return {
            f"loss_{term.name}{predictions.suffix}": term.weight * term(predictions, matched) / normalizer
            for term in self.losses
        }


class Criterion:
    """Applies every supervision rule to the prediction sets that it selects.

    Args:
        rules: see :class:`SupervisionRule`.
    """

    def __init__(self, *, rules: Sequence[SupervisionRule]) -> None:
        if not rules:
            raise ValueError("a criterion needs at least one supervision rule")
        self.rules = tuple(rules)

    def __call__(self, predictions: tuple[PredictionSet, ...], targets: Targets) -> dict[str, Tensor]:
        """Sum up the losses of a step.

        Returns:
            Weighted scalars in float32, to be added up: ``loss_<term><suffix>`` with the suffixes of
            :attr:`PredictionSet.suffix`.

        Raises:
            ValueError: when a rule selects nothing, or predictions are selected by no rule.
            FloatingPointError: when a logit or box is not finite, naming layer and image.
        """
        self._check_coverage(predictions)
        check_finite(predictions, targets)
        losses: dict[str, Tensor] = {}
        for rule in self.rules:
            for selected in filter(rule.selects, predictions):
                for name, value in rule(selected, targets).items():
                    losses[name] = losses[name] + value if name in losses else value
        return losses

    def _check_coverage(self, predictions: tuple[PredictionSet, ...]) -> None:
        for rule in self.rules:
            if not any(map(rule.selects, predictions)):
                raise ValueError(
                    f"the supervision rule for {rule.stage.value} {rule.role.value} queries selects nothing: remove "
                    "it, or add the part that makes these predictions"
                )
        for each in predictions:
            if not any(rule.selects(each) for rule in self.rules):
                raise ValueError(
                    f"no supervision rule selects {each.describe()}: add one to model.criterion.rules, or remove the "
                    "part that makes these predictions"
                )


@torch.no_grad()
def check_finite(predictions: tuple[PredictionSet, ...], targets: Targets) -> None:
    """Raise FloatingPointError, naming layers and images, when a logit or a box is NaN or infinite."""
    # (sets, 2, B), read by the host once
    finite = torch.stack(
        [
            torch.stack([values.isfinite().flatten(1).all(1) for values in (each.logits, each.boxes)])
            for each in predictions
        ]
    ).cpu()
    if finite.all():
        return
    found = [
        f"{('logits', 'boxes')[kind]} of {predictions[number].describe()} in {targets.names[image]}"
        for number, kind, image in (~finite).nonzero().tolist()
    ]
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    raise FloatingPointError(
        f"predictions are NaN or infinite: {'; '.join(found[:4])}{more}. Lower the learning rate or clip gradients, "
        "and look at the annotations of these images"
    )
