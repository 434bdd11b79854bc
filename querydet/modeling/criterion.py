"""The training objective: supervision rules over a flat tuple of prediction sets."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from querydet.modeling.assigners.host import Assigner, Request, assign_all
from querydet.modeling.boxes import full_precision
from querydet.modeling.losses import JoinedPredictions, LossTerm, MatchedPairs, join, sum_parts
from querydet.modeling.normalizers import MeanObjects
from querydet.structures import Assignment, Branch, PredictionSet, Role, Stage, Targets
from querydet.utils.transfer import send

Normalizer = Callable[[PredictionSet, Targets], float]


class SupervisionRule:
    """One line of a paper's training section: which predictions, assigned how, with which losses.

    Args:
        stage: the predictions of this stage: "encoder" or "decoder".
        role: ... of query groups with this role: "matching" or "denoising".
        branch: ... at this read-out: "one_to_one" or "one_to_many".
        assigner: decides which queries are responsible for which objects.
        losses: the terms, each with its weight.
        class_agnostic: tell objects from background only: every object counts as class 0.
        assign_once: assign the queries of a group at the first of its layers, for all of them (DETA).
        normalizer: what the losses are divided by; None: :class:`querydet.modeling.normalizers.MeanObjects`. A loss
            term that has a ``normalizer`` of its own is divided by that.

    Raises:
        ValueError: for an unknown stage, role or branch, or without losses.
    """

    def __init__(
        self,
        *,
        stage: str,
        assigner: Assigner,
        losses: Sequence[LossTerm],
        role: str = "matching",
        branch: str = "one_to_one",
        class_agnostic: bool = False,
        assign_once: bool = False,
        normalizer: Normalizer | None = None,
    ) -> None:
        if not losses:
            raise ValueError(f"the supervision rule for {stage} {role} queries has no losses")
        self.stage, self.role, self.branch = Stage(stage), Role(role), Branch(branch)
        self.assigner = assigner
        self.losses = tuple(losses)
        self.class_agnostic = class_agnostic
        self.assign_once = assign_once
        self.normalizer = MeanObjects() if normalizer is None else normalizer

    def selects(self, predictions: PredictionSet) -> bool:
        """Whether the rule is about these predictions."""
        return (predictions.stage, predictions.group.role, predictions.branch) == (self.stage, self.role, self.branch)

    def request(self, predictions: Sequence[PredictionSet], targets: Targets) -> Request:
        """Which of the selected predictions the assigner is asked about."""
        if self.assign_once:
            first: dict[str, PredictionSet] = {}
            for each in predictions:
                first.setdefault(each.group.name, each)
            predictions = list(first.values())
        return Request(self.assigner, tuple(predictions), targets.class_agnostic() if self.class_agnostic else targets)

    def __call__(
        self,
        predictions: Sequence[PredictionSet],
        targets: Targets,
        assigned: Sequence[tuple[Assignment, ...]] | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses of the selected predictions by name, each divided by the normalizer.

        Args:
            predictions: the sets that the rule selects.
            targets: the objects.
            assigned: of the sets of :meth:`request`, the assignment of each image; None: to be found here.
        """
        request = self.request(predictions, targets)
        (assigned,) = assign_all([request]) if assigned is None else (assigned,)
        if self.assign_once:
            place = {each.group.name: number for number, each in enumerate(request.predictions)}
            assigned = [assigned[place[each.group.name]] for each in predictions]
        by_name: dict[str, list[int]] = {}
        for number, each in enumerate(predictions):
            by_name.setdefault(each.suffix, []).append(number)
        order = [number for numbers in by_name.values() for number in numbers]
        sets = [predictions[number] for number in order]
        joined, pairs = join(sets, [assigned[number] for number in order], request.targets)
        shared = _factors(sets, request.targets, self.normalizer, joined.boxes)
        losses: dict[str, Tensor] = {}
        for term in self.losses:
            own = getattr(term, "normalizer", None)
            factors = shared if own is None else _factors(sets, request.targets, own, joined.boxes)
            summed = term.weight * factors * sum_of_sets(term, joined, pairs)
            summed = sum_parts(summed, [len(numbers) for numbers in by_name.values()])
            for suffix, value in zip(by_name, summed.unbind(), strict=True):
                add_loss(losses, f"loss_{term.name}{suffix}", value)
        return losses

    def describe(self) -> str:
        """In words, for error messages."""
        branch = ", one-to-many" if self.branch is Branch.ONE_TO_MANY else ""
        return f"{self.stage.value} {self.role.value} queries{branch}"


def sum_of_sets(term: LossTerm, predictions: JoinedPredictions, pairs: MatchedPairs) -> Tensor:
    """Sums (n,) of a term over each of n prediction sets.

    Raises:
        ValueError: when the term returns neither a loss of each query nor one of each pair.
    """
    values = term(predictions, pairs)
    if values.shape == predictions.logits.shape[:2]:
        return sum_parts(values.sum(0), predictions.sizes)
    if values.shape == pairs.query.shape:
        return sum_parts(values, pairs.counts)
    raise ValueError(
        f"the loss term {term.name} ({type(term).__name__}) has to return a loss of each query "
        f"{tuple(predictions.logits.shape[:2])} or of each pair {tuple(pairs.query.shape)}, but returned "
        f"{tuple(values.shape)}: leave the sum to the criterion"
    )


def _factors(sets: Sequence[PredictionSet], targets: Targets, normalizer: Normalizer, like: Tensor) -> Tensor:
    """(n,) what the sums of n sets are multiplied by, as ``like``."""
    scales = [each.group.loss_weight / normalizer(each, targets) for each in sets]
    return send(torch.tensor(scales, dtype=like.dtype), like.device)


def add_loss(losses: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add a loss to those of the same name."""
    losses[name] = losses[name] + value if name in losses else value


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
            ValueError: when a rule selects nothing, or predictions are not selected by exactly one rule.
            FloatingPointError: when a prediction is NaN or infinite, naming the layer and the image.
        """
        self._check_coverage(predictions)
        selected = [tuple(filter(rule.selects, predictions)) for rule in self.rules]
        losses: dict[str, Tensor] = {}
        assigned = self.assign(predictions, selected, targets)
        for rule, sets, assignments in zip(self.rules, selected, assigned, strict=True):
            for name, value in rule(sets, targets, assignments).items():
                add_loss(losses, name, value)
        return losses

    def assign(
        self, predictions: Sequence[PredictionSet], selected: Sequence[Sequence[PredictionSet]], targets: Targets
    ) -> list[list[tuple[Assignment, ...]]]:
        """Assign the queries of all rules, layers, groups and images. The one time that a step waits for the device.

        Args:
            predictions: all of them.
            selected: the sets of each rule.
            targets: the objects.

        Returns:
            For each rule, and each set of its request, the assignment of each image.

        Raises:
            FloatingPointError: when a prediction is NaN or infinite, naming the layer and the image.
        """
        requests = [rule.request(sets, targets) for rule, sets in zip(self.rules, selected, strict=True)]
        return assign_all(
            requests, finite(predictions), lambda found: raise_unless_finite(found, predictions, targets.names)
        )

    def _check_coverage(self, predictions: tuple[PredictionSet, ...]) -> None:
        for rule in self.rules:
            if not any(map(rule.selects, predictions)):
                raise ValueError(
                    f"the supervision rule for {rule.describe()} selects nothing: remove it, or add the part that "
                    "makes these predictions"
                )
        for each in predictions:
            count = sum(rule.selects(each) for rule in self.rules)
            if count != 1:
                raise ValueError(
                    f"{count or 'no'} supervision rules select {each.describe()}: give it one in model.criterion.rules"
                    + (", or remove the part that makes these predictions" if count == 0 else "")
                )


def check_finite(predictions: Sequence[PredictionSet], names: Sequence[str]) -> None:
    """Raise FloatingPointError, naming layers and images, when a logit or a box is NaN or infinite.

    Args:
        predictions: of a batch.
        names: of its images.
    """
    raise_unless_finite(finite(predictions).cpu(), predictions, names)


@torch.no_grad()
def finite(predictions: Sequence[PredictionSet]) -> Tensor:
    """(sets, 2, B) bool: whether all logits, and all boxes, of an image are finite.

    A sum is NaN or infinite when a part of it is: one pass, and one operator, for each tensor.
    """
    sums = [full_precision(values).sum((1, 2)) for each in predictions for values in (each.logits, each.boxes)]
    return torch.stack(sums).isfinite().unflatten(0, (-1, 2))


def raise_unless_finite(found: Tensor, predictions: Sequence[PredictionSet], names: Sequence[str]) -> None:
    """Raise FloatingPointError for what :func:`finite` found, which is on the host by now."""
    if found.all():
        return
    where = [
        f"{('logits', 'boxes')[kind]} of {predictions[number].describe()} in {names[image]}"
        for number, kind, image in (~found).nonzero().tolist()
    ]
    more = f" and {len(where) - 4} more" if len(where) > 4 else ""
    raise FloatingPointError(
        f"predictions are NaN or infinite: {'; '.join(where[:4])}{more}. Lower the learning rate or clip gradients, "
        "and look at the annotations of these images"
    )
