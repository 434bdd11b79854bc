"""What maps a network makes from images of which sizes, found by running it on the meta device.

Tables of strides say what a network does with sizes that fit. What detection needs to know is what it does with all
others: some networks round the size of a map up, as reference points and valid ratios here take it, some round down and
drop the last rows and columns of the image, some refuse. Nothing is computed, tensors have shapes alone.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

# Sides that networks are tried with are multiples of these; beyond 64 they are of windows of 7, 8, 12, 14 and 16 at
# stride 32.
DIVISORS = (1, 2, 4, 8, 16, 32, 64, 224, 256, 384, 448, 512)
LEAST_SIDE = 160  # ours: of a trial, so that strides up to 64 can be told apart
STRIDES = tuple(2**power for power in range(8))
REFUSALS = (AssertionError, RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)

Run = Callable[[Tensor], Sequence[Tensor]]  # an image (B, 3, H, W) to maps


@dataclass(frozen=True, slots=True)
class MapFacts:
    """A map of a network."""

    channels: int
    stride: int  # 0: none of `STRIDES`
    channels_last: bool  # (B, H, W, C) instead of (B, C, H, W)
    covers: bool  # its size is that of the image divided by the stride, rounded up


@dataclass(frozen=True, slots=True)
class Probe:
    """The maps of a network on images whose sides are multiples of a divisor."""

    divisor: int
    maps: tuple[MapFacts, ...]


def probes(net: nn.Module, run: Run, square: int = 0) -> Iterator[Probe]:
    """Yield what a network makes of images of more and more regular sizes that it takes.

    Args:
        net: the network; its weights are not read.
        run: calls it.
        square: side of the only size to try; 0: multiples of `DIVISORS`. Sizes that are taken and do not fit yet are
            followed by multiples of 32, which no stride up to 32 rounds.

    Raises:
        ValueError: after the last one, if it took no size at all; the message has its own last refusal.
    """
    refusal: BaseException | None = None
    taken = False
    for divisor in (square,) if square else DIVISORS:
        if taken and divisor < 32:
            continue
        least = max(-(-LEAST_SIDE // divisor), 1)
        trials = ((least, least + 3), (least + 2, least + 1)) if not square else ((1, 1),)
        sizes = [(rows * divisor, columns * divisor) for rows, columns in trials]
        try:
            shapes = [_shapes(net, run, size) for size in sizes]
        except REFUSALS as error:
            refusal = error
            continue
        taken = True
        yield Probe(divisor, tuple(_facts(sizes, made) for made in zip(*shapes, strict=True)))
    if not taken:
        raise ValueError(f"it takes images of no size that was tried: {refusal}") from refusal


def _shapes(net: nn.Module, run: Run, size: tuple[int, int]) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(each.shape) for each in _on_meta(net, run, size, _state(net))]


def unused_parameters(net: nn.Module, run: Run, size: tuple[int, int]) -> list[str]:
    """Return the names of parameters that the maps do not depend on: of layers that lead to other maps alone.

    Args:
        net: the network.
        run: calls it for the maps that are used.
        size: height and width of images that it takes.
    """
    state = _state(net)
    names = [name for name, _ in net.named_parameters()]
    leaves = [state[f"net.{name}"].requires_grad_() for name in names]
    with torch.enable_grad():
        maps = _on_meta(net, run, size, state)
        found = torch.autograd.grad([each.sum() for each in maps], leaves, allow_unused=True)
    return [name for name, gradient in zip(names, found, strict=True) if gradient is None]


def attends(net: nn.Module, run: Run, size: tuple[int, int]) -> bool:
    """Return whether pixels attend to each other: whether products of batches of matrices, or softmax, are computed.

    Args:
        net: the network.
        run: calls it.
        size: height and width of images that it takes.
    """
    with torch.no_grad():
        operators = _Operators()
        _on_meta(net, lambda images: operators.record(run, images), size, _state(net))
    return any(name in ("bmm", "_softmax") or name.startswith("_scaled_dot_product") for name in operators.names)


class _Operators(TorchDispatchMode):
    """Records the names of operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def record(self, run: Run, images: Tensor) -> Sequence[Tensor]:
        """Run a network while operators are recorded."""
        with self:
            return run(images)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def _state(net: nn.Module) -> dict[str, Tensor]:
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return {f"net.{name}": tensor.detach().to("meta") for name, tensor in tensors.items()}


def _on_meta(net: nn.Module, run: Run, size: tuple[int, int], state: dict[str, Tensor]) -> Sequence[Tensor]:
    # A limit on the size of tensors, which may be in force while a config is built, looks at every operation: here
    # none has memory.
    with _disable_current_modes(), torch.device("meta"), _evaluating(net):
        return functional_call(_Runner(net, run), state, torch.empty(1, 3, *size))


class _Runner(nn.Module):
    """Calls a method of a network other than `forward`."""

    def __init__(self, net: nn.Module, run: Run) -> None:
        super().__init__()
        self.net = net
        self.run = run

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """Run the network on images (B, 3, H, W)."""
        return self.run(images)


@contextlib.contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _facts(sizes: Sequence[tuple[int, int]], shapes: Sequence[tuple[int, ...]]) -> MapFacts:
    """Describe a map from its shapes on images of several sizes."""
    if any(len(shape) != 4 for shape in shapes):
        return MapFacts(channels=0, stride=0, channels_last=False, covers=False)
    # channels do not depend on the size; of a single size, they are in their usual place
    last = any(shape[1] != shapes[0][1] for shape in shapes)
    sides: list[tuple[int, int]] = []
    for size, shape in zip(sizes, shapes, strict=True):
        sides += zip(size, shape[1:3] if last else shape[2:4], strict=True)
    up = [stride for stride in STRIDES if all(-(-image // stride) == side for image, side in sides)]
    down = [stride for stride in STRIDES if all(image // stride == side for image, side in sides)]
    return MapFacts(
        channels=shapes[0][3 if last else 1],
        stride=(up or down or [0])[0],
        channels_last=last,
        covers=bool(up),
    )
