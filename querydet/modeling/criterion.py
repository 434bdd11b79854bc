"""The training objective: supervision rules over a flat tuple of prediction sets."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from querydet.modeling.assigners.host import Request, assign_all
from querydet.modeling.boxes import full_precision
from querydet.modeling.joining import JoinedSets, join_by_suffix
from querydet.modeling.normalizers import MeanObjects
from querydet.parts import Assigner, LossTerm, Normalizer, PairWeights
from querydet.structures import Assignment, Branch, PredictionSet, Role, Stage, Targets
from querydet.traits import trait
from querydet.utils.lazy import instantiate_values
from querydet.utils.texts import listed
from querydet.utils.transfer import send


class SupervisionRule:
    """One line of a paper's training section: which predictions, assigned how, with which losses.

    A rule selects the predictions of one stage, role and branch.

    Args:
        stage: stage that makes the predictions, "encoder" or "decoder".
        assigner: decides which queries are responsible for which objects.
        losses: the loss terms by name, such as "class", "l1" and "giou", which becomes part of the name of the loss; a
            term that is None is left out.
        role: role of the query group, "matching" or "denoising".
        branch: branch of the decoder layer, "one_to_one", "one_to_many" or "second_stream".
        class_agnostic: whether to train objects against background only: every object counts as class 0.
        assign_once: whether the assignment of a group's first layer serves all of its layers (DETA).
        normalizer: divisor of the losses; None: `querydet.modeling.normalizers.MeanObjects`. A loss term with the trait
            `normalizer` is divided by its own.
        pair_weights: factors of the losses of each pair, such as `querydet.modeling.align.RankWeights`; None: 1.

    Raises:
        ValueError: for an unknown stage, role or branch, or without losses.
    """

    def __init__(
        self,
        *,
        stage: str,
        assigner: Assigner,
        losses: Mapping[str, LossTerm | None],
        role: str = "matching",
        branch: str = "one_to_one",
        class_agnostic: bool = False,
        assign_once: bool = False,
        normalizer: Normalizer | None = None,
        pair_weights: PairWeights | None = None,
    ) -> None:
        self.losses: dict[str, LossTerm] = instantiate_values(losses, "losses of a supervision rule")
        if not self.losses:
            raise ValueError(f"the supervision rule for {stage} {role} queries has no losses")
        self.stage, self.role, self.branch = Stage(stage), Role(role), Branch(branch)
        self.assigner = assigner
        self.class_agnostic = class_agnostic
        self.assign_once = assign_once
        self.normalizer: Normalizer = MeanObjects() if normalizer is None else normalizer
        self.pair_weights = pair_weights

    def selects(self, predictions: PredictionSet) -> bool:
        """Return whether the rule supervises these predictions."""
        return (predictions.stage, predictions.group.role, predictions.branch) == (self.stage, self.role, self.branch)

    def request(self, predictions: Sequence[PredictionSet], targets: Targets) -> Request:
        """Return the assigner with the sets that it has to assign, for all selected sets of a step."""
        if self.assign_once:
            first: dict[str, PredictionSet] = {}
            for prediction_set in predictions:
                first.setdefault(prediction_set.group.name, prediction_set)
            predictions = list(first.values())
        return Request(self.assigner, tuple(predictions), targets.class_agnostic() if self.class_agnostic else targets)

    def __call__(
        self,
        predictions: Sequence[PredictionSet],
        targets: Targets,
        assigned: Sequence[tuple[Assignment, ...]] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of the selected predictions by name, each divided by the normalizer.

        Args:
            predictions: the sets that the rule selects.
            targets: the objects.
            assigned: for each set of `request`, the assignment of each image; None: computed here.
        """
        request = self.request(predictions, targets)
        if assigned is None:
            (assigned,) = assign_all([request])
        if self.assign_once:
            by_group = {first.group.name: images for first, images in zip(request.predictions, assigned, strict=True)}
            assigned = [by_group[prediction_set.group.name] for prediction_set in predictions]
        losses: dict[str, Tensor] = {}
        with_masks = [index for index, prediction_set in enumerate(predictions) if prediction_set.masks is not None]
        for reads_masks, indices in ((False, range(len(predictions))), (True, with_masks)):
            terms = {name: term for name, term in self.losses.items() if trait(term, "reads_masks") == reads_masks}
            if terms and indices:
                sets, assignments = [predictions[index] for index in indices], [assigned[index] for index in indices]
                joined = join_by_suffix(sets, assignments, request.targets, self.pair_weights, reads_masks)
                self._add_losses(losses, terms, joined, request.targets)
        return losses

    def _add_losses(
        self, losses: dict[str, Tensor], terms: Mapping[str, LossTerm], joined: JoinedSets, targets: Targets
    ) -> None:
        """Add the weighted losses of some terms to those of the rule."""
        factors = _factors(joined, targets, self.normalizer)
        for name, term in terms.items():
            normalizer = trait(term, "normalizer")
            term_factors = factors if normalizer is None else _factors(joined, targets, normalizer)
            weighted = term.weight * term_factors * sum_of_sets(name, term, joined)
            for suffix, value in joined.sum_suffixes(weighted):
                add_loss(losses, f"loss_{name}{suffix}", value)

    def describe(self) -> str:
        """Describe the selected predictions in words, for error messages."""
        return f"{self.stage.value} {self.role.value} queries{self.branch.words}"


def sum_of_sets(name: str, term: LossTerm, joined: JoinedSets) -> Tensor:
    """Compute a loss term and sum it up over each of n prediction sets, (n,).

    Raises:
        ValueError: when the term returns neither a loss of each query nor one of each pair.
    """
    values = term(joined.predictions, joined.pairs)
    sums = joined.sum_sets(values)
    if sums is None:
        raise ValueError(
            f"the loss term {name} ({type(term).__name__}) has to return a loss of each query "
            f"{tuple(joined.predictions.logits.shape[:2])} or of each pair {tuple(joined.pairs.query.shape)}, but "
            f"returned {tuple(values.shape)}: leave the sum to the criterion"
        )
    return sums


def _factors(joined: JoinedSets, targets: Targets, normalizer: Normalizer) -> Tensor:
    """Return the factors (n,) of the losses of n sets: their weight over their divisor."""
    boxes = joined.predictions.boxes
    scales = [prediction_set.group.loss_weight / normalizer(prediction_set, targets) for prediction_set in joined.sets]
    return send(torch.tensor(scales, dtype=boxes.dtype), boxes.device)


def add_loss(losses: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add a loss to those of the same name."""
    losses[name] = losses[name] + value if name in losses else value


class Criterion:
    """Applies every supervision rule to the prediction sets that it selects.

    Args:
        rules: supervision rules by names of your choice, such as "decoder", "encoder" and "denoising"; a rule that is
            None is left out.

    Raises:
        ValueError: without rules.
    """

    def __init__(self, *, rules: Mapping[str, SupervisionRule | None]) -> None:
        self.rules: dict[str, SupervisionRule] = instantiate_values(rules, "rules of the criterion")
        if not self.rules:
            raise ValueError("a criterion needs at least one supervision rule")

    def __call__(self, predictions: tuple[PredictionSet, ...], targets: Targets) -> dict[str, Tensor]:
        """Sum up the losses of a step.

        Returns:
            Weighted scalars in float32, to be added up, by the name `loss_<term><suffix>` (`PredictionSet.suffix`).

        Raises:
            ValueError: when a rule selects nothing, or predictions are not selected by exactly one rule.
            FloatingPointError: when a prediction is NaN or infinite, naming the layer and the image.
        """
        self._check_coverage(predictions)
        rules = list(self.rules.values())
        selected = [tuple(filter(rule.selects, predictions)) for rule in rules]
        losses: dict[str, Tensor] = {}
        assigned = self.assign(predictions, selected, targets)
        for rule, sets, assignments in zip(rules, selected, assigned, strict=True):
            for name, value in rule(sets, targets, assignments).items():
                add_loss(losses, name, value)
        return losses

    def assign(
        self, predictions: Sequence[PredictionSet], selected: Sequence[Sequence[PredictionSet]], targets: Targets
    ) -> list[list[tuple[Assignment, ...]]]:
        """Assign the queries of all rules, layers, groups and images; a step waits for the device here and only here.

        Args:
            predictions: all prediction sets of the step.
            selected: for each rule, the sets that it selects.
            targets: the objects.

        Returns:
            For each rule, and each set of its request, the assignment of each image.

        Raises:
            FloatingPointError: when a prediction is NaN or infinite, naming the layer and the image.
        """
        requests = [rule.request(sets, targets) for rule, sets in zip(self.rules.values(), selected, strict=True)]
        return assign_all(
            requests, finite(predictions), lambda flags: raise_unless_finite(flags, predictions, targets.names)
        )

    def _check_coverage(self, predictions: tuple[PredictionSet, ...]) -> None:
        for name, rule in self.rules.items():
            if not any(map(rule.selects, predictions)):
                raise ValueError(
                    f"the supervision rule for {rule.describe()} selects nothing: remove it "
                    f"(model.criterion.rules.{name}), or add the part that makes these predictions"
                )
        for prediction_set in predictions:
            names = [name for name, rule in self.rules.items() if rule.selects(prediction_set)]
            if len(names) != 1:
                raise ValueError(
                    f"{len(names) or 'no'} supervision rules select {prediction_set.describe()}"
                    + (f" ({', '.join(names)})" if names else "")
                    + ": give it one in model.criterion.rules"
                    + ("" if names else ", or remove the part that makes these predictions")
                )


def check_finite(predictions: Sequence[PredictionSet], names: Sequence[str]) -> None:
    """Raise FloatingPointError, naming layers and images, when a logit or a box is NaN or infinite.

    Args:
        predictions: sets of a batch.
        names: names of its images.
    """
    raise_unless_finite(finite(predictions).cpu(), predictions, names)


@torch.no_grad()
def finite(predictions: Sequence[PredictionSet]) -> Tensor:
    """Return (n, 2, B) bool for n sets: whether all logits, and all boxes, of an image are finite.

    They are summed up, in one pass and by one operator for each tensor: a sum is NaN or infinite where a summand is.
    """
    sums = [
        full_precision(values).sum((1, 2))
        for prediction_set in predictions
        for values in (prediction_set.logits, prediction_set.boxes)
    ]
    return torch.stack(sums).isfinite().unflatten(0, (-1, 2))


def raise_unless_finite(flags: Tensor, predictions: Sequence[PredictionSet], names: Sequence[str]) -> None:
    """Raise FloatingPointError, naming layers and images, unless all flags of `finite`, now on the host, are True."""
    if flags.all():
        return
    where = [
        f"{('logits', 'boxes')[kind]} of {predictions[index].describe()} in {names[image]}"
        for index, kind, image in (~flags).nonzero().tolist()
    ]
    raise FloatingPointError(
        f"predictions are NaN or infinite: {listed(where, 4, '; ')}. Lower the learning rate or clip gradients, "
        "and look at the annotations of these images"
    )
