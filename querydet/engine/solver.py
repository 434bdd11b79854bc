"""AdamW with a learning rate per part of the model, and learning-rate schedules written in epochs.

Sources: DINO (arXiv:2203.03605, table 8) and Deformable DETR (arXiv:2010.04159, section 5): AdamW, weight decay 1e-4 on
every parameter, norms and biases included; the backbone, in Deformable DETR also the sampling offsets and reference
points, at a tenth of the learning rate; one drop by 10, no warm-up.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler


def build_adamw(
    model: nn.Module,
    lr: float = 1e-4,
    weight_decay: float = 1e-4,
    betas: Sequence[float] = (0.9, 0.999),
    lr_factors: Mapping[str, float] | None = None,
    norm_weight_decay: float | None = None,
    embedding_weight_decay: float | None = None,
    weight_decays: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters of a model; see `parameter_groups` for the arguments.

    Raises:
        ValueError: from `parameter_groups`.
    """
    decays = (weight_decay, lr_factors, norm_weight_decay, embedding_weight_decay, weight_decays)
    groups = parameter_groups(model, lr, *decays)
    # Plain Python numbers: they end in the checkpoint, which is loaded without unpickling foreign classes.
    return torch.optim.AdamW(
        groups,
        lr=float(lr),
        weight_decay=float(weight_decay),
        betas=(betas[0], betas[1]),
        fused=True,  # one pass over the memory, on CPUs and GPUs
    )


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    lr_factors: Mapping[str, float] | None = None,
    norm_weight_decay: float | None = None,
    embedding_weight_decay: float | None = None,
    weight_decays: Mapping[str, float] | None = None,
) -> list[dict]:
    """Sort the trainable parameters into groups of equal learning rate and weight decay.

    Detectron2's ``get_default_optimizer_params`` neither names its groups nor notices a rule that matches nothing.

    Args:
        model: the model.
        lr: learning rate of parameters that no rule matches.
        weight_decay: weight decay.
        lr_factors: rules, part of a parameter's name -> factor on ``lr``. The first rule that matches counts.
        norm_weight_decay: weight decay of the parameters of norms, as detrex has it; None: that of the others.
        embedding_weight_decay: weight decay of tables, the weights of ``nn.Embedding``, as Mask2Former has it; None:
            that of the others.
        weight_decays: rules, part of a parameter's name -> weight decay. The first rule that matches counts, before
            the weight decays of norms and tables.

    Returns:
        Groups in the order of their first parameter: ``params, lr, weight_decay`` and, for logs, ``name`` (the rule,
        or "other", and " norms", " embeddings" or the other rule for those with a decay of their own).

    Raises:
        ValueError: a rule matches no parameter, or the model has no trainable parameter.
    """
    factors = _Rules("lr_factors", lr_factors)
    decays = _Rules("weight_decays", weight_decays)
    kinds = {} if norm_weight_decay is None else dict.fromkeys(parameters_of_norms(model), "norms")
    if embedding_weight_decay is not None:
        kinds |= dict.fromkeys(parameters_of_embeddings(model), "embeddings")
    of_kinds = {None: weight_decay, "norms": norm_weight_decay, "embeddings": embedding_weight_decay}
    groups: dict[str, dict] = {}
    for name, parameter in model.named_parameters():
        rule, decay_rule = factors.first(name), decays.first(name)
        if not parameter.requires_grad:
            continue
        kind = kinds.get(name) if decay_rule is None else None
        own = decay_rule or kind
        group = {
            "params": [],
            "lr": lr * (1.0 if rule is None else factors.values[rule]),
            "weight_decay": of_kinds[kind] if decay_rule is None else decays.values[decay_rule],
            "name": (rule or "other") + (f" {own}" if own else ""),
        }
        groups.setdefault(str(group["name"]), group)["params"].append(parameter)
    for rules in (factors, decays):
        rules.check(model)
    if not groups:
        raise ValueError("the model has no trainable parameter")
    return list(groups.values())


class _Rules:
    """Values by a part of a parameter's name; remembers which of them matched.

    Args:
        option: of the optimizer, for messages.
        values: value by part of a name, in order.
    """

    def __init__(self, option: str, values: Mapping[str, float] | None) -> None:
        self.option = option
        self.values = {str(part): float(value) for part, value in (values or {}).items()}
        self.matched: set[str] = set()

    def first(self, name: str) -> str | None:
        """Return the first rule that matches a parameter's name; None: none does."""
        rule = next((part for part in self.values if part in name), None)
        self.matched |= {rule} if rule is not None else set()
        return rule

    def check(self, model: nn.Module) -> None:
        """Refuse rules that have matched nothing."""
        idle = [part for part in self.values if part not in self.matched]
        if idle:
            parts = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
            raise ValueError(
                f"optimizer.{self.option}: no parameter's name contains {idle}; the model's parts are {parts}"
            )


def parameters_of_norms(model: nn.Module) -> set[str]:
    """Return the names of the parameters of norms: of all modules whose class says so in its name."""
    return {
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if "Norm" in type(module).__name__
        for parameter, _ in module.named_parameters(recurse=False)
    }


def parameters_of_embeddings(model: nn.Module) -> set[str]:
    """Return the names of the tables of all ``nn.Embedding``; a table that is a bare parameter is none of them."""
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}


def lr_scale(rule: str | None, total_batch_size: int, base_batch_size: int) -> float:
    """Factor on learning rates that were chosen for another batch size.

    Args:
        rule: "linear" (Goyal et al., arXiv:1706.02677, section 2.1, for SGD), "sqrt" (Malladi et al.,
            arXiv:2205.10287, for Adam and its relatives), or None for no scaling.
        total_batch_size: images of a step over all processes and micro-batches.
        base_batch_size: the batch size that the rates were chosen for.

    Raises:
        ValueError: an unknown rule, or a base that is not positive.
    """
    rules = {None: 0.0, "linear": 1.0, "sqrt": 0.5}
    if rule not in rules:
        raise ValueError(f"train.lr_scaling.rule has to be null, linear or sqrt, got {rule!r}")
    if base_batch_size <= 0:
        raise ValueError(f"train.lr_scaling.base_batch_size has to be positive, got {base_batch_size}")
    return (total_batch_size / base_batch_size) ** rules[rule]


class MultiStepEpochs:
    """A schedule that drops the learning rate after given epochs, with an optional linear warm-up.

    Args:
        milestones: epochs after which the rate is multiplied by ``gamma``; fractions are allowed.
        gamma: factor of each drop.
        warmup_epochs: length of the linear warm-up in epochs.
        warmup_factor: factor at the first iteration of the warm-up.

    Raises:
        ValueError: milestones that do not increase, or numbers that are negative or not finite.
    """

    def __init__(
        self,
        milestones: Sequence[float] = (),
        gamma: float = 0.1,
        warmup_epochs: float = 0.0,
        warmup_factor: float = 0.001,
    ) -> None:
        self.milestones = [float(epoch) for epoch in milestones]
        numbers = {"milestones": self.milestones, "gamma": [gamma]}
        numbers |= {"warmup_epochs": [warmup_epochs], "warmup_factor": [warmup_factor]}
        for name, values in numbers.items():
            if not all(isinstance(value, int | float) and 0 <= value < math.inf for value in values):
                raise ValueError(f"lr_multiplier.{name} has to be of finite numbers of at least 0, got {values}")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"lr_multiplier.milestones have to increase, got {self.milestones}")
        self.gamma = gamma
        self.warmup_epochs = warmup_epochs
        self.warmup_factor = warmup_factor

    def factor(self, iteration: int, iterations_per_epoch: int) -> float:
        """Compute the factor on the learning rate of a step, counted from 0."""
        steps = [round(epoch * iterations_per_epoch) for epoch in self.milestones]
        factor = self.gamma ** bisect_right(steps, iteration)
        warmup = round(self.warmup_epochs * iterations_per_epoch)
        if iteration < warmup:
            progress = iteration / warmup
            factor *= self.warmup_factor * (1 - progress) + progress
        return factor


class EpochScheduler(LRScheduler):
    """Steps a schedule written in epochs once an iteration.

    Unlike Detectron2's ``LRMultiplier``, which maps progress in [0, 1] to a factor, the drop happens at an exact
    iteration and does not move when a finished run is continued for longer.

    Args:
        optimizer: its parameter groups keep the ratio of their learning rates.
        schedule: for example `MultiStepEpochs`.
        iterations_per_epoch: length of an epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: MultiStepEpochs, iterations_per_epoch: int) -> None:
        self.schedule = schedule
        self.iterations_per_epoch = iterations_per_epoch
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Compute the learning rates of the groups for the coming step."""
        factor = self.schedule.factor(self.last_epoch, self.iterations_per_epoch)
        return [base * factor for base in self.base_lrs]

    def apply(self) -> None:
        """Set the learning rates of the coming step; after a restart the optimizer has those of its checkpoint."""
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict:
        """Return only the position: learning rates and the schedule belong to the config."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore the position."""
        self.last_epoch = state_dict["last_epoch"]
