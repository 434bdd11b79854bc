"""Parameters, gradients and optimizer state shared out over the processes (ZeRO, arXiv:1910.02054; PyTorch's FSDP2).

Every process keeps a slice of every parameter and of its optimizer state. The blocks of the backbone and
the layers of encoder and decoder are collected one at a time when they are computed. Checkpoints do not show it: they
hold whole tensors under the usual names, and load with and without sharding, into any number of processes.
"""

import contextlib
import functools
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from querydet.checkpoint import Checkpointer
from querydet.engine.distributed.shared_tensors import collected, local
from querydet.engine.switches import blocks

logger = logging.getLogger(__name__)

PARTS = ("backbone", "encoder", "decoder")  # collected block by block; everything else at once

_RESHARDED: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()  # FSDP2 has no way to ask


class ShardedCheckpointer(Checkpointer):
    """Writes whole tensors; all processes save together, and one of them writes."""

    def content(self) -> dict[str, Any]:
        """Collect the content of a checkpoint from all processes; empty in those that do not write."""
        data = {"model": self.model.state_dict(), "class_names": self.class_names}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        data = collected(data, keep=self.save_to_disk)
        return data if self.save_to_disk else {}


def is_sharded(train: DictConfig) -> bool:
    """Return whether the run shares parameters out: ``train.sharding.enabled``.

    Raises:
        ValueError: there is only one process, or a switch needs gradients that are not shared.
    """
    if not train.sharding.enabled:
        return False
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        raise ValueError("train.sharding.enabled=True needs several processes: start more, or switch it off")
    if train.out_of_memory.action != "stop":
        raise ValueError(
            f"train.out_of_memory.action={train.out_of_memory.action} does not go with train.sharding.enabled=True: "
            "use stop, and train.micro_batches or train.activation_checkpointing to need less memory"
        )
    return True


def shard_model(model: nn.Module, reshard_after_forward: bool = True) -> None:
    """Share a model out over all processes, in place. All have equal weights before, and call this together.

    Args:
        model: the model, on its device.
        reshard_after_forward: drop collected parameters after the forward pass, and collect them again for the backward
            pass (ZeRO stage 3). False keeps them: more memory, less to exchange (stage 2).
    """
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    for block in _units(model):
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard_after_forward)
        _RESHARDED[block] = reshard_after_forward
    model.forward = functools.partial(_reporting, model, model.forward)
    # the rest is used until the end, by methods that are no forward pass
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    model.register_load_state_dict_pre_hook(_share_out_entries)
    whole = sum(parameter.numel() for parameter in model.parameters())
    own = sum(local(parameter).numel() for parameter in model.parameters())
    logger.info("Sharding: %.2f of %.2f million parameters in this process", own / 1e6, whole / 1e6)


def shard_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer over a sharded model load states of whole tensors, as checkpoints hold them."""
    optimizer.register_load_state_dict_post_hook(_share_out_state)


@contextlib.contextmanager
def collected_parameters(*models: nn.Module) -> Iterator[None]:
    """Keep all parameters whole in every process while the block runs, for forward passes that processes do not share.

    In evaluation they have different numbers of batches: one that is done would let the others wait for ever.
    """
    modules = [module for model in models for module in model.modules() if isinstance(module, FSDPModule)]
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in modules:
            module.set_reshard_after_forward(_RESHARDED.get(module, False), recurse=False)
            module.reshard()


def _reporting(model: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    """Run a forward pass; in training, return the exception about NaN and infinity instead of raising it.

    FSDP2 records the forward pass; a process that leaves it early would collect other blocks than the others in the
    next step, and all would wait for ever.
    """
    try:
        return forward(*inputs)
    except FloatingPointError as error:
        if not model.training:
            raise
        return error


def _units(model: nn.Module) -> Iterator[nn.Module]:
    for name in PARTS:
        part = getattr(model, name, None)
        if part is not None:
            yield from (block for block in blocks(part) if any(p.requires_grad for p in block.parameters()))


def _share_out(value: Tensor, parameter: DTensor) -> DTensor:
    value = value.to(parameter.device, parameter.dtype)
    # every process has read the same file: nothing has to be sent
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _share_out_entries(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, parameter in module.named_parameters():
        value = state_dict.get(prefix + name)
        if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or isinstance(value, DTensor):
            continue
        if value.shape == parameter.shape:  # else the caller reports what does not fit
            state_dict[prefix + name] = _share_out(value, parameter)


def _share_out_state(optimizer: torch.optim.Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = value if isinstance(value, DTensor) else _share_out(value, parameter)
