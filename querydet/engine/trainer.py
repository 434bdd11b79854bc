"""The training step, on Detectron2's ``SimpleTrainer``.

Differences from Detectron2's step: mixed precision on CPU and GPU (``AMPTrainer`` asserts CUDA); gradient clipping;
random generators seeded at every step; losses averaged over processes by one reduction; and a NaN or infinite
prediction, loss or gradient is found by all processes in the same step, before the optimizer sees it. Several processes
or micro-batches compute the step of one, up to rounding (docs/training.md).
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from querydet.data.workers import WorkerError
from querydet.engine.accumulation import count_objects, exchanging, split_batch
from querydet.engine.distributed.agreement import largest, mean_losses
from querydet.engine.distributed.shared_tensors import whole
from querydet.engine.faults.bad_images import BadImages, replaced
from querydet.engine.faults.nonfinite import NonFiniteInStep, NonFiniteSteps, bad_gradients, bad_terms
from querydet.engine.faults.out_of_memory import OutOfMemoryInStep, OutOfMemorySteps, average_gradients
from querydet.engine.faults.running_statistics import RunningStatistics
from querydet.engine.faults.stopping import Stopped, StopRequest
from querydet.engine.hooks.history import restore_history, saved_history
from querydet.engine.optimizer_state import check_optimizer_state
from querydet.engine.precision import amp_dtype
from querydet.engine.run.setup import seed_everything
from querydet.structures import ObjectCount

Batch = list[dict[str, Any]]
Problem = NonFiniteInStep | OutOfMemoryInStep | None


class Trainer(SimpleTrainer):
    """Trains a model that returns a dict of weighted scalar losses.

    Args:
        model: the model, wrapped in ``DistributedDataParallel`` when there are several processes.
        data_loader: yields lists of Detectron2's dicts, for ever; ``len(data_loader.dataset)`` is the number of images.
        optimizer: the optimizer.
        train: the ``train`` node of the config; read are ``seed, amp, clip_grad_norm, micro_batches,
            max_nonfinite_steps, dump_nonfinite, out_of_memory, max_bad_images, output_dir``.

    Attributes:
        request: requests to stop that this process receives (`querydet.engine.faults.stopping`).
        on_failure: called when a step fails that has changed nothing, before the exception is raised again.

    Raises:
        ValueError: an unknown 16-bit type, float16 without a GPU, or a switch that does not exist.
    """

    def __init__(
        self, model: nn.Module, data_loader: Iterable[Batch], optimizer: torch.optim.Optimizer, train: DictConfig
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.device = next(model.parameters()).device
        self.seed = int(train.seed)
        self.max_norm = None if train.clip_grad_norm is None else float(train.clip_grad_norm)
        self.allow_changed_config = bool(train.allow_changed_config)
        self.micro_batches = int(train.micro_batches)
        self.amp_dtype = amp_dtype(train.amp, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_dtype is torch.float16)
        self.nonfinite = NonFiniteSteps(train)
        self.memory = OutOfMemorySteps(train.out_of_memory)
        self.bad_images = BadImages(len(data_loader.dataset), float(train.max_bad_images))  # type: ignore[attr-defined]
        self.request = StopRequest()
        self.on_failure: Callable[[], None] | None = None
        self.stop_signal = 0  # the request to stop that all processes know of
        self.step_applied = False
        self.overflow_steps = 0  # left out by loss scaling
        self.last_norm = math.nan
        self._news: dict[str, float] = {}
        self._changing = False
        self._statistics = RunningStatistics(model)
        self._plain_model = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
        self._takes_object_count = bool(getattr(self._plain_model, "takes_object_count", False))
        self._parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._saved_history: dict[str, list[Any]] = {}

    def run_step(self) -> None:
        """Run one step: data, forward pass, check for NaN, backward pass, clipping, optimizer.

        A failure before the optimizer begins has changed nothing: ``on_failure`` may save the state before the step.

        Raises:
            NonFiniteError: more than ``train.max_nonfinite_steps`` steps had NaN or infinity.
            torch.OutOfMemoryError: more than ``train.out_of_memory.max_skipped`` steps did not fit into memory.
            WorkerError: the data workers failed too often; ``Stopped`` when that was after a request to stop.
        """
        self._changing = False
        try:
            self._step()
        except Exception as error:
            if not self._changing:
                self._statistics.restore()
                if self.on_failure is not None:
                    self.on_failure()
            if isinstance(error, WorkerError) and self.request.signum:
                raise Stopped(self.request.signum) from error
            raise

    def _step(self) -> None:
        start = time.perf_counter()
        batch = self.batch = next(self._data_loader_iter)
        self._news = {"data_time": time.perf_counter() - start}
        self.step_applied = False
        self._statistics.keep()
        images = [str(item.get("file_name", "unknown")) for item in batch]
        problem: NonFiniteInStep | None = None
        try:
            compute, place = partial(self._gradients, batch), f"iteration {self.iter}"
            means = self.memory.run(compute, self._plain_model, self.micro_batches, images, place)
            norm = math.nan if means is None else self._clip_gradients()
        except NonFiniteInStep as error:
            means, problem = None, error
        if means is None:
            self._leave_out()
            if problem is not None:
                self.nonfinite.handle(self, batch, problem.what)
            else:
                self.storage.put_scalar("out_of_memory_steps", self.memory.skipped, smoothing_hint=False)
            return
        self._changing = True
        self.scaler.step(self.optimizer)
        scale = self.scaler.get_scale()
        self.scaler.update()
        self.step_applied = self.scaler.get_scale() >= scale
        self.overflow_steps += not self.step_applied
        self._write(means, norm)

    def _may_overflow(self) -> bool:
        """Return whether an overflow is part of the method: as long as the scale, which it lowers, is above one."""
        if not self.scaler.is_enabled() or self.scaler.get_scale() >= 1:
            return self.scaler.is_enabled()
        self.scaler.update()
        return False

    def _leave_out(self) -> None:
        self.optimizer.zero_grad()
        self._statistics.restore()

    def _gradients(self, batch: Batch, micro_batches: int) -> dict[str, float]:
        """Compute the gradients of a step, and return its losses, averaged over processes.

        Raises:
            NonFiniteInStep: NaN or infinity; in all processes together.
            OutOfMemoryInStep: a process ran out of memory and the run may go on; in all processes together.
        """
        # Here, not once at the start: whatever ran before this step, also before a restart, leaves no trace.
        seed_everything(self.seed, self.iter, comm.get_rank())
        self._leave_out()
        means: dict[str, float] = {}
        parts = split_batch(batch, micro_batches)
        count = count_objects(batch, micro_batches) if self._takes_object_count else None
        together = self.memory.survives  # gradients are exchanged after the backward passes, not in the last of them
        for number, part in enumerate(parts, start=1):
            with exchanging(self.model, last=number == len(parts) and not together):
                losses, problem = self._forward(part, count)
                self._agree(problem, batch)
                found = mean_losses(losses)
                if not all(map(math.isfinite, found.values())):
                    raise NonFiniteInStep(bad_terms(losses))
                total = sum(losses.values(), torch.zeros((), device=self.device)) / len(parts)
                problem = self._backward(total)
            if together:
                self._agree(problem, batch)
            means = {name: means.get(name, 0.0) + value / len(parts) for name, value in found.items()}
        if together:
            average_gradients([parameter for _, parameter in self._parameters])
        self.after_backward()
        return means

    def _forward(self, batch: Batch, count: ObjectCount | None) -> tuple[Mapping[str, torch.Tensor], Problem]:
        """Compute the losses; return them, or the problem of this process: NaN predictions, or no memory."""
        try:
            with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None):
                losses = self.model(batch) if count is None else self.model(batch, count)
        except FloatingPointError as error:
            losses = error  # a sharded model returns it
        except torch.OutOfMemoryError as error:
            if not self.memory.survives:
                raise
            return {}, OutOfMemoryInStep(str(error))
        if isinstance(losses, FloatingPointError):
            return {}, NonFiniteInStep(str(losses))
        if not losses:
            raise ValueError(f"the model returned no losses in training: {losses!r}")
        return losses, None

    def _backward(self, loss: torch.Tensor) -> Problem:
        try:
            self.scaler.scale(loss).backward()
        except torch.OutOfMemoryError as error:
            if not self.memory.survives:
                raise
            return OutOfMemoryInStep(str(error))
        return None

    def _agree(self, problem: Problem, batch: Batch) -> None:
        """Share a problem with all processes, and once a step also requests to stop and unusable images.

        Raises:
            NonFiniteInStep: a process has this problem.
            OutOfMemoryInStep: a process has this problem.
        """
        news, self._news = self._news, {}
        slowest, request, images, memory, nonfinite = largest(
            [
                news.get("data_time", -1.0),
                self.request.signum if news else 0,
                bool(news and replaced(batch)),
                isinstance(problem, OutOfMemoryInStep),
                isinstance(problem, NonFiniteInStep),
            ],
            self.device,
        )
        if slowest >= 0:
            self.storage.put_scalar("data_time", slowest)
            self.stop_signal = int(request)
        if images:
            self.bad_images.add(batch)
            self.storage.put_scalar("bad_images", self.bad_images.total, smoothing_hint=False)
        for found, kind in ((memory, OutOfMemoryInStep), (nonfinite, NonFiniteInStep)):
            if found:
                raise problem if isinstance(problem, kind) else kind("")

    def _clip_gradients(self) -> float:
        """Clip the gradients, and return their norm before.

        Raises:
            NonFiniteInStep: a gradient is NaN or infinite, and not because of loss scaling.
        """
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for _, p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        value = whole(norm).item()
        # Scaling by a NaN norm would spread it over the gradients that the report is about to name.
        if self.max_norm is not None and math.isfinite(value):
            nn.utils.clip_grads_with_norm_([p for _, p in self._parameters], self.max_norm, norm)
        if not math.isfinite(value) and not self._may_overflow():
            raise NonFiniteInStep(bad_gradients(self._parameters))
        return value

    def _write(self, means: dict[str, float], norm: float) -> None:
        self.storage.put_scalar("total_loss", sum(means.values()))
        self.storage.put_scalars(**means)
        self.storage.put_scalar("grad_norm", norm)
        self.last_norm = norm
        if self.scaler.is_enabled():
            self.storage.put_scalar("loss_scale", self.scaler.get_scale(), smoothing_hint=False)
            self.storage.put_scalar("overflow_steps", self.overflow_steps, smoothing_hint=False)

    def before_train(self) -> None:
        """Restore the history that writers smooth over."""
        restore_history(self.storage, self._saved_history)
        super().before_train()

    def after_train(self) -> None:
        """End the data workers too."""
        super().after_train()
        if isinstance(self._data_loader_iter_obj, Generator):
            self._data_loader_iter_obj.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of hooks, optimizer and loss scaling, the counts of skipped steps and the metrics."""
        state = super().state_dict()
        state["scaler"] = self.scaler.state_dict()
        state["overflow_steps"] = self.overflow_steps
        state["nonfinite_steps"] = self.nonfinite.count
        state["out_of_memory_steps"] = self.memory.skipped
        state["bad_images"] = self.bad_images.state_dict()
        state["history"] = saved_history(self.storage)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, without options of the optimizer; training continues at ``iter + 1``.

        Raises:
            ValueError: the state is of another model, or of another number of images without
                ``train.allow_changed_config``.
        """
        if "bad_images" in state_dict:
            self.bad_images.load_state_dict(state_dict["bad_images"], self.allow_changed_config)
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        super().load_state_dict(state_dict)
        check_optimizer_state(self.optimizer)
        for group, option in zip(self.optimizer.param_groups, options, strict=True):
            group.update(option)
        self.scaler.load_state_dict(state_dict["scaler"])
        self.overflow_steps = state_dict.get("overflow_steps", 0)
        self.nonfinite.count = state_dict["nonfinite_steps"]
        self.memory.skipped = state_dict.get("out_of_memory_steps", 0)
        self._saved_history = state_dict["history"]
