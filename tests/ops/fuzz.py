"""Random calls of every operator beside float64: `python -m tests.ops.fuzz --seconds 60 --seed 1`.

A case is drawn from one number, which is printed when it fails: `--seed N --cases 1` repeats it. Shapes, strides, types
and values are random; degenerate ones are frequent. `QUERYDET_CPU` chooses the kernels.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment as solve
from torch import Tensor

from querydet.ops.native import cpu_instruction_set
from querydet.ops.reference import locate_samples, ms_deform_attn_reference, normalize_logits
from tests.reference.suppression import iou
from tests.reference.suppression import suppress as suppress_one_by_one

OPS = torch.ops.querydet
# Relative to the largest entry; twice what rounding of a sum of a few hundred terms to this type gives.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 3e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}
SPECIAL = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-40, 3e38, -3e38)


class Draw:
    """Random shapes, layouts and values of one case."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def size(self, most: int) -> int:
        """A size, often a degenerate one, or one beside a multiple of vectors."""
        return self.choose.choice(
            [0, 1, 2, 3, most, self.choose.randint(0, most), 7, 8, 9, 15, 16, 17, 31, 33][: most + 1]
        )

    def dtype(self, *types: torch.dtype) -> torch.dtype:
        """One of some types."""
        return self.choose.choice(types)

    def tensor(self, *shape: int, low: float = -1.0, high: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniform values in a random memory layout: transposed, strided, shifted, or repeated by a stride of zero."""
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64) * (high - low) + low
        return self.layout(values.to(dtype))

    def layout(self, values: Tensor) -> Tensor:
        """The same values, or with one dimension repeated, in another layout."""
        kind = self.choose.randrange(6) if values.dim() else 0
        axis = self.choose.randrange(max(values.dim(), 1))
        if kind == 1:
            return values.transpose(axis, -1).contiguous().transpose(axis, -1)
        if kind == 2 and values.numel():
            return torch.stack([values, values + 1], dim=axis).select(axis, 0)
        if kind == 3:
            return torch.cat([values.new_full((3,), 7.0), values.flatten()])[3:].view(values.shape)
        if kind == 4 and values.shape[axis] > 0:
            return values.narrow(axis, 0, 1).expand(values.shape)
        return values

    def spoil(self, values: Tensor) -> Tensor:
        """Put special values in a few places."""
        values = values.contiguous().clone()
        if values.numel():
            flat = values.view(-1)
            for _ in range(self.choose.randint(1, 3)):
                flat[self.choose.randrange(len(flat))] = self.choose.choice(SPECIAL)
        return values


def near(found: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    """Compare with float64, relative to the largest entry; what is not finite has to be so in both."""
    assert found.shape == wanted.shape, f"{what}: shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}"
    found = found.double()
    finite = torch.isfinite(wanted)
    assert torch.equal(torch.isfinite(found), finite), f"{what}: other entries are finite"
    if finite.any():
        scale = max(wanted[finite].abs().max().item(), 0.1)  # inputs are near 1: what cancels out keeps their rounding
        error = (found - wanted)[finite].abs().max().item() / scale
        assert error <= tolerance, f"{what}: off by {error:.1e} of the largest entry, allowed {tolerance:.1e}"


def sampling(draw: Draw) -> tuple[Tensor, list[tuple[int, int]], tuple[int, ...]]:
    """A value, its levels, and (B, Q, M, L, P) of the points."""
    dtype = draw.dtype(*TOLERANCE)
    shapes = [(draw.size(9), draw.size(9)) for _ in range(draw.choose.randint(1, 5))]
    batch, heads, channels = draw.size(3), draw.size(4), draw.size(40)
    value = draw.tensor(batch, sum(h * w for h, w in shapes), heads, channels, dtype=dtype)
    return value, shapes, (batch, draw.size(40), heads, len(shapes), draw.size(5))


def away_from_pixels(shapes: list[tuple[int, int]], locations: Tensor) -> Tensor:
    """Move locations from pixel centres, where slopes jump and rounding decides."""
    sizes = torch.tensor([(max(width, 1), max(height, 1)) for height, width in shapes]).to(locations)[:, None]
    pixels = locations * sizes - 0.5
    return ((pixels - pixels.floor()).clamp(0.1, 0.9) + pixels.floor() + 0.5) / sizes


def check_gradients(
    draw: Draw, backward: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor], exact: list[Tensor], wanted: Tensor
) -> None:
    """The gradients that a random mask asks for."""
    value = inputs[0]
    gradient = draw.tensor(*wanted.shape, dtype=draw.dtype(value.dtype, _companion(value.dtype)))
    mask = [draw.choose.random() < 0.7 for _ in inputs]
    found = backward(inputs, gradient, draw.choose.random() < 0.5, mask)
    grads: tuple[Tensor | None, ...] = (None,) * len(inputs)  # levels without pixels: nothing depends on anything
    if wanted.requires_grad:
        grads = torch.autograd.grad(wanted, exact, gradient.double(), allow_unused=True)
    for tensor, mine, theirs, asked in zip(inputs, found, grads, mask, strict=True):
        if not asked:
            assert mine.numel() == 0
            continue
        theirs = torch.zeros_like(tensor, dtype=torch.float64) if theirs is None else theirs
        near(mine, theirs, 10 * max(TOLERANCE[tensor.dtype], TOLERANCE[value.dtype]), "gradient")


def _companion(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_ms_deform_attn(draw: Draw) -> None:
    """Deformable attention, and its backward."""
    value, shapes, points = sampling(draw)
    flat = [side for shape in shapes for side in shape]
    dtype = _companion(value.dtype)
    locations = away_from_pixels(shapes, draw.tensor(*points, 2, low=-0.3, high=1.3, dtype=dtype))
    weights = draw.tensor(*points, dtype=dtype)
    inputs = [value, draw.layout(locations), weights]
    if draw.choose.random() < 0.2:
        OPS.ms_deform_attn(draw.spoil(value), flat, draw.spoil(locations), draw.spoil(weights))  # must not crash
    exact = [tensor.double().requires_grad_() for tensor in inputs]
    wanted = ms_deform_attn_reference(exact[0], shapes, exact[1], exact[2])
    near(OPS.ms_deform_attn(value, flat, *inputs[1:]), wanted.detach(), TOLERANCE[value.dtype], "attention")
    if not _safe(shapes, inputs[1].double()):  # repeated in levels of another size
        return

    def backward(tensors: list[Tensor], gradient: Tensor, same: bool, mask: list[bool]) -> tuple[Tensor, ...]:
        return OPS.ms_deform_attn_backward(tensors[0], flat, *tensors[1:], gradient, same, mask)

    check_gradients(draw, backward, inputs, exact, wanted)


def check_ms_deform_attn_fused(draw: Draw) -> None:
    """The fused operator, and its backward."""
    value, shapes, points = sampling(draw)
    flat = [side for shape in shapes for side in shape]
    dtype = _companion(value.dtype)
    size = draw.choose.choice([2, 4])
    references = draw.tensor(points[0], points[1], points[3], size, low=0.05, high=0.95, dtype=dtype)
    offsets = draw.tensor(*points, 2, low=-3.0, high=3.0, dtype=dtype)
    logits = draw.tensor(*points, low=-5.0, high=5.0, dtype=dtype)
    inputs = [value, references, offsets, logits]
    if draw.choose.random() < 0.2:
        OPS.ms_deform_attn_fused(value, flat, draw.spoil(references), draw.spoil(offsets), draw.spoil(logits))
    exact = [tensor.double().requires_grad_() for tensor in inputs]
    locations = locate_samples(exact[1], exact[2], shapes)
    if not _safe(shapes, locations.detach()):
        return
    wanted = ms_deform_attn_reference(exact[0], shapes, locations, normalize_logits(exact[3]))
    near(OPS.ms_deform_attn_fused(value, flat, *inputs[1:]), wanted.detach(), TOLERANCE[value.dtype], "attention")

    def backward(tensors: list[Tensor], gradient: Tensor, same: bool, mask: list[bool]) -> tuple[Tensor, ...]:
        return OPS.ms_deform_attn_fused_backward(tensors[0], flat, *tensors[1:], gradient, same, mask)

    check_gradients(draw, backward, inputs, exact, wanted)


def _safe(shapes: list[tuple[int, int]], locations: Tensor) -> bool:
    """Whether no location is so near to a pixel that rounding decides on its side."""
    sizes = torch.tensor([(width, height) for height, width in shapes]).to(locations)[:, None]
    pixels = locations * sizes - 0.5
    return bool(((pixels - pixels.round()).abs() > 1e-5).all())


def boxes_xyxy(draw: Draw, *shape: int, dtype: torch.dtype) -> Tensor:
    """Boxes with positive sides."""
    corner, sides = draw.tensor(*shape, 2, low=0, high=1), draw.tensor(*shape, 2, low=0.05, high=0.5)
    boxes = torch.cat([corner, corner + sides], -1).to(dtype)
    drawn = draw.layout(boxes)
    return drawn if (drawn[..., 2:] > drawn[..., :2]).all() else boxes


def check_suppress(draw: Draw) -> None:
    """Suppression, one box after the other."""
    dtype = draw.dtype(*TOLERANCE)
    batch, groups, count = draw.size(3), draw.size(4), draw.size(24)
    boxes = boxes_xyxy(draw, batch, count, dtype=dtype)
    scores = draw.layout(torch.rand(batch, groups, count, generator=draw.generator).to(dtype))
    scores = scores.masked_fill(
        torch.rand(scores.shape, generator=draw.generator) < 0.1, draw.choose.choice(SPECIAL[:3:2])
    )
    threshold = draw.choose.choice([0.0, 1.0, draw.choose.random()])
    if draw.choose.random() < 0.2:
        OPS.suppress(draw.spoil(boxes), draw.spoil(scores), threshold)
    kept = OPS.suppress(boxes, scores, threshold)
    for image in range(batch):
        corners = boxes[image].double().tolist()
        if any(abs(iou(a, b) - threshold) < 1e-5 for a in corners for b in corners):
            continue
        for group in range(groups):
            row = scores[image, group].double().tolist()
            order = sorted((i for i in range(count) if row[i] > -float("inf")), key=lambda i: -row[i])
            assert kept[image, group].nonzero().flatten().tolist() == sorted(
                suppress_one_by_one(order, corners, threshold)
            ), "suppression"


def check_matching_cost(draw: Draw) -> None:
    """Costs of boxes, beside the same formula in float64."""
    dtype = draw.dtype(torch.float32, torch.float64)
    sets, objects, queries = draw.size(3), draw.size(20), draw.size(40)
    other = draw.dtype(*TOLERANCE)
    given = draw.tensor(sets, objects, queries, dtype=dtype)
    boxes = draw.tensor(sets, queries, 4, low=0.05, high=0.9, dtype=other)
    items = draw.tensor(objects, 4, low=0.05, high=0.9, dtype=other)
    found = OPS.matching_cost(given, boxes, items, 5.0, 2.0, 1e-6)
    a, b = boxes.double()[:, None], items.double()[None, :, None]
    low, high = torch.maximum(*_corner(a, b, -0.5)), torch.minimum(*_corner(a, b, 0.5))
    inside = (high - low).clamp(min=0).prod(-1)
    hull = (torch.maximum(*_corner(a, b, 0.5)) - torch.minimum(*_corner(a, b, -0.5))).clamp(min=0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - inside
    giou = inside / (union + 1e-6) - (hull - union) / (hull + 1e-6)
    wanted = given.double() + 5 * (a - b).abs().sum(-1) - 2 * giou
    near(found, wanted, 10 * TOLERANCE[dtype], "matching cost")


def _corner(a: Tensor, b: Tensor, side: float) -> tuple[Tensor, Tensor]:
    return a[..., :2] + side * a[..., 2:], b[..., :2] + side * b[..., 2:]


def check_linear_sum_assignment(draw: Draw) -> None:
    """Assignments are as good as scipy's in float64; unusable costs are said."""
    dtype = draw.dtype(torch.float32, torch.float64)
    rows = [draw.size(20) for _ in range(draw.choose.randint(0, 5))]
    columns = [draw.size(33) for _ in rows]
    problems = [draw.tensor(r, c, dtype=dtype) for r, c in zip(rows, columns, strict=True)]
    if draw.choose.random() < 0.3:  # many equal costs
        problems = [(each * 2).round() for each in problems]
    spoilt = [draw.choose.random() < 0.1 and each.numel() > 0 for each in problems]
    problems = [_with_nan(draw, each) if bad else each for each, bad in zip(problems, spoilt, strict=True)]
    flat = torch.cat([torch.empty(0, dtype=dtype), *(each.flatten() for each in problems)])
    found = OPS.linear_sum_assignment(draw.layout(flat) if not flat.numel() else flat, rows, columns).split(rows)
    for costs, matched, bad in zip(problems, found, spoilt, strict=True):
        if bad:
            assert (matched == -2).all(), "an unusable cost was used"
            continue
        pairs = (matched >= 0).nonzero().flatten()
        assert len(pairs) == min(costs.shape), "not all are matched"
        assert len(set(matched[pairs].tolist())) == len(pairs), "a column twice"
        best = costs.double().numpy()[solve(costs.double().numpy())].sum() if costs.numel() else 0.0
        mine = costs.double()[pairs, matched[pairs]].sum().item()
        assert mine <= best + 1e-5 * max(1.0, abs(best)), f"total {mine}, best {best}"


def _with_nan(draw: Draw, costs: Tensor) -> Tensor:
    costs = costs.contiguous().clone()
    costs.view(-1)[draw.choose.randrange(costs.numel())] = draw.choose.choice(SPECIAL[:3])
    return costs


CHECKS = (
    check_ms_deform_attn,
    check_ms_deform_attn_fused,
    check_suppress,
    check_matching_cost,
    check_linear_sum_assignment,
)


def main() -> None:
    """Run cases until the time is over; the first that fails ends the run with its number."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="number of the first case; default: by the clock")
    parser.add_argument("--cases", type=int, default=None, help="at most so many of each operator")
    args = parser.parse_args()
    first = int(time.time()) * 1000 if args.seed is None else args.seed
    print(f"fuzzing {cpu_instruction_set()} kernels from --seed {first}", flush=True)
    end, seed = time.monotonic() + args.seconds, first
    while time.monotonic() < end and (args.cases is None or seed < first + args.cases):
        for check in CHECKS:
            try:
                check(Draw(seed))
            except Exception as error:
                raise SystemExit(
                    f"{check.__name__} --seed {seed} --cases 1: {type(error).__name__}: {error}"
                ) from error
        seed += 1
    print(f"{seed - first} cases of {len(CHECKS)} operators agree with float64")


if __name__ == "__main__":
    main()
