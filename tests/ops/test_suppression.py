"""Suppression as an operator with a mask for its answer: loops, definition, and the kernels of both devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from querydet.ops import suppression as operator
from querydet.ops.suppression import suppress, suppress_reference
from tests.device import CUDA_KERNELS, ROOT
from tests.ops.registered import assert_registered, needs_extension
from tests.reference.cuda_emulation import COMPILER, EmulatedSuppression
from tests.reference.suppression import suppress as suppress_one_by_one

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
DTYPES = [torch.float32, torch.float64]


def boxes_and_scores(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, 30, 2, generator=generator) * 0.3
    boxes = torch.cat([corners, corners + 0.1 + 0.2 * torch.rand(2, 30, 2, generator=generator)], dim=-1)
    return boxes, torch.randn(2, 3, 30, generator=generator)


def hard_case(
    seed: int, dtype: torch.dtype, batch: int = 2, groups: int = 3, count: int = 150, part: float = 0.7
) -> tuple[Tensor, Tensor]:
    """Ties, equal boxes, boxes of no area, inside out, huge and not finite, and scores of all kinds."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(batch, count, 2, generator=generator, dtype=dtype) * 0.5
    sides = 0.1 + 0.4 * torch.rand(batch, count, 2, generator=generator, dtype=dtype)
    boxes = torch.cat([corners, corners + sides], dim=-1)
    boxes[:, 5:15] = boxes[:, 15:25]
    boxes[:, 25:28, 2] = boxes[:, 25:28, 0]
    boxes[:, 26, 3] = boxes[:, 26, 1]
    boxes[:, 28] = boxes[:, 28].flip(-1)
    boxes[:, 29:31] *= torch.finfo(dtype).max ** 0.5 * 4
    for row, bad in zip(range(31, 40), [torch.nan, torch.inf, -torch.inf] * 3, strict=True):
        boxes[:, row, row % 4] = bad
    scores = torch.randn(batch, groups, count, generator=generator, dtype=dtype)
    scores = scores.where(torch.rand(scores.shape, generator=generator) < 0.5, (scores * 4).round() / 4)
    scores = scores.where(torch.rand(scores.shape, generator=generator) < part, -torch.inf)
    scores[..., 3::40], scores[..., 4::40] = torch.nan, torch.inf
    scores[..., 0:2] = torch.tensor([0.0, -0.0])
    return boxes, scores


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops_image_by_image_and_group_by_group(seed: int) -> None:
    boxes, scores = boxes_and_scores(seed)
    scores[:, 1, ::2] = -torch.inf
    kept = suppress(boxes, scores, 0.4)
    for image in range(2):
        for group in range(3):
            order = scores[image, group].argsort(descending=True).tolist()
            order = [row for row in order if scores[image, group, row] > -torch.inf]
            left = suppress_one_by_one(order, boxes[image].tolist(), 0.4)
            assert kept[image, group].nonzero()[:, 0].tolist() == sorted(left)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_kernel_is_the_definition_bit_for_bit(dtype: torch.dtype, threshold: float) -> None:
    for seed in range(5):
        boxes, scores = hard_case(seed, dtype)
        wanted = suppress_reference(boxes, scores, threshold)
        assert torch.equal(suppress(boxes, scores, threshold), wanted)
        takes_part = (scores > -torch.inf).sum()
        assert 0 < wanted.sum() < takes_part if threshold < 1 else wanted.sum() == takes_part


@pytest.mark.parametrize("implementation", [suppress, suppress_reference])
def test_an_overlap_of_just_the_threshold_is_no_reason(implementation) -> None:
    """The overlap of these is a third, rounded to float32: compared with a threshold in double precision."""
    boxes, scores = torch.tensor([[[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0]]]), torch.tensor([[[2.0, 1.0]]])
    third = (torch.tensor(1.0) / 3).item()
    assert third > 1 / 3
    assert implementation(boxes, scores, third).tolist() == [[[True, True]]]
    assert implementation(boxes, scores, 1 / 3).tolist() == [[[True, False]]]
    assert implementation(boxes.double(), scores.double(), 1 / 3).tolist() == [[[True, True]]]


def test_of_equal_boxes_and_scores_the_first_is_left() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.4, 0.4]] * 3])
    assert suppress(boxes, torch.ones(1, 1, 3), 0.5).tolist() == [[[True, False, False]]]


def test_what_is_dropped_drops_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 3.0, 1.0], [1.0, 0.0, 4.0, 1.0], [2.0, 0.0, 5.0, 1.0]]])
    assert suppress(boxes, torch.tensor([[[3.0, 2.0, 1.0]]]), 0.4).tolist() == [[[True, False, True]]]


def test_nothing_takes_part() -> None:
    boxes, scores = boxes_and_scores(0)
    assert not suppress(boxes, torch.full_like(scores, -torch.inf), 0.5).any()
    assert not suppress(boxes, torch.full_like(scores, torch.nan), 0.5).any()
    assert suppress(boxes[:, :0], scores[..., :0], 0.5).shape == (2, 3, 0)
    assert suppress(boxes[:0], scores[:0], 0.5).shape == (0, 3, 30)
    assert suppress(boxes, scores[:, :0], 0.5).shape == (2, 0, 30)


def test_threads_change_nothing() -> None:
    boxes, scores = hard_case(0, torch.float32, groups=20, count=1000)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(suppress(boxes, scores, 0.5))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_strided_inputs() -> None:
    boxes, scores = hard_case(0, torch.float32)
    wanted = suppress(boxes, scores, 0.5)
    strided = (boxes.transpose(0, 2).contiguous().transpose(0, 2), scores.transpose(1, 2).contiguous().transpose(1, 2))
    assert not any(each.is_contiguous() for each in strided)
    assert torch.equal(suppress(*strided, 0.5), wanted)
    assert torch.equal(suppress_reference(*strided, 0.5), wanted)
    assert torch.equal(suppress(boxes[:1].expand(2, -1, -1), scores, 0.5)[0], wanted[0])


@pytest.mark.parametrize(
    ("boxes_type", "scores_type", "computed"),
    [
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float32, torch.float16, torch.float32),
        (torch.float16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.float64, torch.bfloat16, torch.float64),
    ],
)
def test_types_are_widened_without_rounding(
    boxes_type: torch.dtype, scores_type: torch.dtype, computed: torch.dtype
) -> None:
    boxes, scores = boxes_and_scores(0)
    boxes, scores = boxes.to(boxes_type), scores.to(scores_type)
    wanted = suppress_reference(boxes.to(computed), scores.to(computed), 0.4)
    assert torch.equal(suppress(boxes, scores, 0.4), wanted)
    assert torch.equal(suppress_reference(boxes, scores, 0.4), wanted)


def test_nothing_has_a_gradient() -> None:
    boxes, scores = boxes_and_scores(0)
    kept = suppress(boxes.requires_grad_(), scores.requires_grad_(), 0.4)
    assert not kept.requires_grad


BAD = [
    ((2, 30, 5), (2, 3, 30), 0.5, r"boxes_xyxy must be \(B, N, 4\).* \(2, 30, 5\)"),
    ((30, 4), (2, 3, 30), 0.5, r"boxes_xyxy must be \(B, N, 4\).* \(30, 4\)"),
    ((2, 30, 4), (2, 30), 0.5, r"scores must be \(2, G, 30\).* \(2, 30\)"),
    ((2, 30, 4), (1, 3, 30), 0.5, r"scores must be \(2, G, 30\).* \(1, 3, 30\)"),
    ((2, 30, 4), (2, 30, 3), 0.5, r"scores must be \(2, G, 30\).* \(2, 30, 3\)"),
    ((2, 30, 4), (2, 3, 30), 1.5, r"iou_threshold must be in \[0, 1\].* 1\.5"),
    ((2, 30, 4), (2, 3, 30), float("nan"), r"iou_threshold must be in \[0, 1\].* nan"),
]


@pytest.mark.parametrize(("boxes", "scores", "threshold", "message"), BAD)
def test_bad_arguments(boxes: tuple[int, ...], scores: tuple[int, ...], threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suppress(torch.rand(boxes), torch.rand(scores), threshold)
    with pytest.raises((ValueError, RuntimeError), match=message):  # the kernel checks by itself
        torch.ops.querydet.suppress(torch.rand(boxes), torch.rand(scores), threshold)


def test_bad_types_and_devices() -> None:
    boxes, scores = boxes_and_scores(0)
    with pytest.raises(ValueError, match=r"boxes_xyxy must be float32, .* but are torch\.int64"):
        suppress(boxes.long(), scores, 0.5)
    with pytest.raises(ValueError, match=r"scores must be float32, .* but are torch\.int32"):
        suppress(boxes, scores.int(), 0.5)
    with pytest.raises((ValueError, RuntimeError), match=r"Double, BFloat16 or Half, but got Float .* Int|float32"):
        torch.ops.querydet.suppress(boxes, scores.int(), 0.5)
    with pytest.raises(ValueError, match="boxes_xyxy are on meta and scores on cpu"):
        suppress(boxes.to("meta"), scores, 0.5)


def test_is_an_operator_that_the_meta_device_and_the_compiler_know() -> None:
    boxes, scores = boxes_and_scores(0)
    assert suppress(boxes.to("meta"), scores.to("meta"), 0.5).shape == (2, 3, 30)
    results = torch.library.opcheck(torch.ops.querydet.suppress.default, (boxes, scores, 0.5))
    assert set(results.values()) == {"SUCCESS"}, results


@needs_extension
def test_schema_is_the_extensions_and_there_is_a_kernel() -> None:
    assert_registered(operator._SCHEMA)


WITHOUT_EXTENSION = """
import sys, torch
from querydet.ops import native, suppression
assert native.MISSING_EXTENSION, "the extension was loaded"
boxes, scores = torch.load(sys.argv[1])
assert suppression.suppress(boxes.to("meta"), scores.to("meta"), 0.5).shape == scores.shape
torch.save(suppression.suppress(boxes, scores, 0.5), sys.argv[2])
"""


def test_without_the_extension_the_definition_runs(tmp_path: Path) -> None:
    boxes, scores = hard_case(0, torch.float32)
    torch.save((boxes, scores), tmp_path / "in.pt")
    completed = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTENSION, tmp_path / "in.pt", tmp_path / "out.pt"],
        env={**os.environ, "QUERYDET_NO_EXTENSION": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert torch.equal(torch.load(tmp_path / "out.pt"), suppress(boxes, scores, 0.5))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> EmulatedSuppression:
    return EmulatedSuppression(tmp_path_factory.mktemp("cuda"))


# fewer boxes than threads, as many, one more; several tiles; more kept boxes than are held at once
@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("batch", "groups", "count", "part", "threshold"),
    [(2, 3, 60, 0.9, 0.3), (1, 2, 256, 1.0, 0.0), (1, 1, 257, 1.0, 0.5), (2, 2, 700, 0.8, 0.9), (1, 2, 3000, 0.2, 0.2)],
)
def test_cuda_kernel_computes_the_definition(
    emulated: EmulatedSuppression,
    dtype: torch.dtype,
    batch: int,
    groups: int,
    count: int,
    part: float,
    threshold: float,
) -> None:
    boxes, scores = hard_case(count, dtype, batch, groups, count, part)
    if groups > 2:
        scores[0, 0], scores[0, 1] = -torch.inf, torch.nan  # rows without a box
    scores[0, -1, : count // 2] = torch.nan  # tiles without one before others
    assert torch.equal(emulated.run(boxes, scores, threshold), suppress_reference(boxes, scores, threshold))


def test_there_is_a_cuda_kernel_and_every_cuda_source_is_compiled() -> None:
    assert operator.OPERATOR in CUDA_KERNELS
    assert "querydet::ms_deform_attn_fused_backward" in CUDA_KERNELS
    registered = [
        path.name for path in (ROOT / "ops/csrc/cuda").glob("*.cu") if "STABLE_TORCH_LIBRARY_IMPL" in path.read_text()
    ]
    text = (ROOT / "setup.py").read_text()
    assert all(f'"{name}"' in text for name in registered)
