"""The training step, on Detectron2's ``SimpleTrainer``.

Differences from Detectron2's step: mixed precision on CPU and GPU (``AMPTrainer`` asserts CUDA); gradient clipping;
random generators seeded at every step; losses averaged over processes by one reduction; and a NaN or infinite
prediction, loss or gradient is found by all processes in the same step, before the optimizer sees it.

Several processes, or micro-batches, compute the step of one with the whole batch, up to rounding, when nothing is drawn
at random but what is drawn for an image, and its neighbours' sizes do not change an image's features: backbones see
padding at borders.
"""

import logging
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from querydet.engine.accumulation import exchanging, split_batch
from querydet.engine.setup import seed_everything

logger = logging.getLogger(__name__)

HISTORY = 20  # iterations that Detectron2's writers smooth over
CLOCK = ("time", "data_time", "eta_seconds")  # belong to the process, not to the run


class NonFiniteError(FloatingPointError):
    """A prediction, loss or gradient is NaN or infinite; the weights are those of the step before."""


class Trainer(SimpleTrainer):
    """Trains a model that returns a dict of weighted scalar losses.

    Args:
        model: the model, wrapped in ``DistributedDataParallel`` when there are several processes.
        data_loader: yields lists of Detectron2's dicts, for ever.
        optimizer: the optimizer.
        train: the ``train`` node of the config; read are ``seed, amp, clip_grad_norm, max_nonfinite_steps,
            micro_batches``.

    Raises:
        ValueError: an unknown 16-bit type, or float16 without a GPU.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[dict[str, Any]]],
        optimizer: torch.optim.Optimizer,
        train: DictConfig,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.device = next(model.parameters()).device
        self.seed = int(train.seed)
        self.max_norm = None if train.clip_grad_norm is None else float(train.clip_grad_norm)
        self.max_nonfinite_steps = int(train.max_nonfinite_steps)
        self.micro_batches = int(train.micro_batches)
        self.amp_dtype = amp_dtype(train.amp, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_dtype is torch.float16)
        self.nonfinite_steps = 0
        self.step_applied = False
        self._parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._saved_history: dict[str, list[Any]] = {}

    def run_step(self) -> None:
        """One step: data, forward, finite check, backward, clipping, optimizer.

        Raises:
            NonFiniteError: more than ``train.max_nonfinite_steps`` steps had a NaN or infinite prediction, loss or
                gradient.
        """
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        # Here, not once at the start: whatever ran before this step, also before a restart, leaves no trace.
        seed_everything(self.seed, self.iter, comm.get_rank())
        self.step_applied = False
        self.optimizer.zero_grad()
        means: dict[str, float] = {}
        parts = split_batch(batch, self.micro_batches)
        for number, part in enumerate(parts, start=1):
            with exchanging(self.model, last=number == len(parts)):
                losses, problem = self._forward(part)
                if self._any_process(problem != "", data_time if number == 1 else None):
                    self._non_finite(problem, batch)
                    return
                found = self._mean_over_processes(losses)
                bad = ", ".join(f"{name}={value}" for name, value in found.items() if not math.isfinite(value))
                if bad:
                    self._non_finite(f"NaN or infinite loss terms {bad}", batch)
                    return
                total = sum(losses.values(), torch.zeros((), device=self.device)) / len(parts)
                self.scaler.scale(total).backward()
            means = {name: means.get(name, 0.0) + value / len(parts) for name, value in found.items()}
        self.after_backward()
        norm = self._clip_gradients()
        # With loss scaling an overflow is part of the method: the scaler skips the step and scales less.
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            self._non_finite(f"NaN or infinite gradients of {self._bad_gradients()}", batch)
            return
        self.scaler.step(self.optimizer)
        scale = self.scaler.get_scale()
        self.scaler.update()
        self.step_applied = self.scaler.get_scale() >= scale
        self._write(means, norm)

    def _forward(self, batch: list[dict[str, Any]]) -> tuple[Mapping[str, torch.Tensor], str]:
        """The losses, or what the model says about its NaN or infinite predictions in this process."""
        try:
            with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None):
                losses = self.model(batch)
        except FloatingPointError as error:
            return {}, str(error)
        if not losses:
            raise ValueError(f"the model returned no losses in training: {losses!r}")
        return losses, ""

    def _any_process(self, failed: bool, data_time: float | None) -> bool:
        """Whether the forward failed anywhere. The slowest process decides ``data_time``, which is written here."""
        values = torch.tensor([data_time or 0.0, float(failed)], dtype=torch.float64, device=self.device)
        if comm.get_world_size() > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX)
        slowest, failures = values.tolist()
        if data_time is not None:
            self.storage.put_scalar("data_time", slowest)
        return failures > 0

    def _mean_over_processes(self, losses: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Losses averaged over processes, which one bad process makes NaN for all, so that all agree without asking."""
        names = sorted(losses)
        values = torch.stack([losses[name].detach().to(torch.float64) for name in names])
        if comm.get_world_size() > 1:
            dist.all_reduce(values)
            values /= comm.get_world_size()
        return dict(zip(names, values.tolist(), strict=True))

    def _clip_gradients(self) -> float:
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for _, p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        value = norm.item()
        # Scaling by a NaN norm would spread it over the gradients that the report is about to name.
        if self.max_norm is not None and math.isfinite(value):
            nn.utils.clip_grads_with_norm_([p for _, p in self._parameters], self.max_norm, norm)
        return value

    def _bad_gradients(self) -> str:
        names = [n for n, p in self._parameters if p.grad is not None and not torch.isfinite(p.grad).all()]
        if not names:
            return "no single parameter, only their total norm overflows"
        return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")

    def _non_finite(self, what: str, batch: list[dict[str, Any]]) -> None:
        """Skips the step or stops the run; all processes call this in the same step."""
        self.optimizer.zero_grad()
        gathered = comm.all_gather((what, _file_names(batch)))
        reasons = "; ".join(dict.fromkeys(reason for reason, _ in gathered if reason))
        images = [name for _, names in gathered for name in names]
        rates = {group.get("name", str(i)): group["lr"] for i, group in enumerate(self.optimizer.param_groups)}
        report = (
            f"iteration {self.iter}: {reasons}\n"
            f"  images: {', '.join(images)}\n  learning rates: {rates}; the weights are unchanged"
        )
        self.nonfinite_steps += 1
        if self.nonfinite_steps > self.max_nonfinite_steps:
            raise NonFiniteError(f"{report}\n  train.max_nonfinite_steps={self.max_nonfinite_steps} are allowed")
        logger.warning("Step left out, %d of at most %d: %s", self.nonfinite_steps, self.max_nonfinite_steps, report)
        self.storage.put_scalar("nonfinite_steps", self.nonfinite_steps, smoothing_hint=False)

    def _write(self, means: dict[str, float], norm: float) -> None:
        self.storage.put_scalar("total_loss", sum(means.values()))
        self.storage.put_scalars(**means)
        self.storage.put_scalar("grad_norm", norm)
        if self.scaler.is_enabled():
            self.storage.put_scalar("loss_scale", self.scaler.get_scale(), smoothing_hint=False)

    def before_train(self) -> None:
        """Gives the writers the history that the run had when it was saved: they smooth over it."""
        for name, (hint, values) in self._saved_history.items():
            for value, iteration in values:
                self.storage.put_scalar(name, value, smoothing_hint=hint, cur_iter=int(iteration))
        super().before_train()

    def state_dict(self) -> dict[str, Any]:
        """Iteration, hooks, optimizer, loss scale, count of skipped steps and the history that writers smooth over."""
        state = super().state_dict()
        state["scaler"] = self.scaler.state_dict()
        state["nonfinite_steps"] = self.nonfinite_steps
        hints = self.storage.smoothing_hints()
        state["history"] = {
            name: [hints[name], _recent(history.values())]
            for name, history in self.storage.histories().items()
            if name not in CLOCK
        }
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` saved; training then continues at ``iter + 1``.

        The optimizer's options, such as its weight decay, stay those of the config.
        """
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        super().load_state_dict(state_dict)
        for group, option in zip(self.optimizer.param_groups, options, strict=True):
            group.update(option)
        self.scaler.load_state_dict(state_dict["scaler"])
        self.nonfinite_steps = state_dict["nonfinite_steps"]
        self._saved_history = state_dict["history"]


def amp_dtype(amp: DictConfig, device: torch.device) -> torch.dtype | None:
    """The 16-bit type to compute in, or None.

    Raises:
        ValueError: neither bfloat16 nor float16, or float16 without a GPU.
    """
    if not amp.enabled:
        return None
    dtypes = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    if amp.dtype not in dtypes:
        raise ValueError(f"train.amp.dtype has to be one of {', '.join(dtypes)}, got {amp.dtype!r}")
    if amp.dtype == "float16" and device.type != "cuda":
        raise ValueError("train.amp.dtype=float16 needs a GPU: use train.amp.dtype=bfloat16")
    return dtypes[amp.dtype]


def _recent(values: list[tuple[float, float]]) -> list[list[float]]:
    return [[float(v), int(i)] for v, i in values[-HISTORY:] if i > values[-1][1] - HISTORY]


def _file_names(batch: list[dict[str, Any]]) -> list[str]:
    return [str(item.get("file_name", "unknown")) for item in batch]
