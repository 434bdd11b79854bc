"""Masks as COCO's run lengths (RLE): checked before a library reads them, which does not check them.

A run-length mask is `{"size": [height, width], "counts": ...}`. The counts are lengths of runs of zeros and ones in
turn, down the columns: a list, or a text that compresses it. Format: https://cocodataset.org/#format-data, and the
comments of `maskApi.h` in cocoapi.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

RunLengths = dict[str, Any]  # {"size": [height, width], "counts": text}
MASKS_AT_ONCE = 16  # copied to the host and transposed together
LONGEST_CODE = 7  # characters of a number, of five bits each: more than any count of a real image has


def encode_masks(bitmaps: Tensor) -> list[RunLengths]:
    """Compress masks (n, H, W) bool to run lengths, with texts as counts, as a json holds them."""
    encoded: list[RunLengths] = []
    for block in bitmaps.split(MASKS_AT_ONCE):
        columns = _columns(block.to("cpu", torch.uint8).numpy())
        encoded += [
            {"size": list(map(int, mask["size"])), "counts": mask["counts"].decode()}
            for mask in coco_mask.encode(columns)
        ]
    return encoded


def _columns(rows: np.ndarray) -> np.ndarray:
    """Return masks (n, H, W) uint8 as (H, W, n) with the pixels of a column side by side, as run lengths need them."""
    import cv2  # five times as fast here as NumPy and PyTorch; not imported by those who encode no masks

    columns = np.empty((rows.shape[0], rows.shape[2], rows.shape[1]), np.uint8)
    if rows.size:
        for mask, transposed in zip(rows, columns, strict=True):
            cv2.transpose(mask, transposed)
    return columns.transpose(2, 1, 0)


def decode_masks(masks: Sequence[RunLengths], height: int, width: int) -> Tensor:
    """Return the masks (n, height, width) bool of run lengths that were checked, such as those of `checked`."""
    if not masks:
        return torch.zeros(0, height, width, dtype=torch.bool)
    return torch.from_numpy(coco_mask.decode(list(masks))).permute(2, 0, 1).bool().contiguous()


def mask_areas(masks: Sequence[RunLengths]) -> list[int]:
    """Return the number of pixels of every mask, given as checked run lengths."""
    return [int(area) for area in coco_mask.area(list(masks))]


def checked(mask: Any, height: int, width: int) -> RunLengths:
    """Return run lengths of an unknown source as ones with a text, which `pycocotools` can read.

    Args:
        mask: an entry of a json, with counts as a list or a text.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        ValueError: they are no run lengths, or of another size; the message says what was found.
    """
    if not isinstance(mask, Mapping) or "size" not in mask or "counts" not in mask:
        raise ValueError("a mask of run lengths needs 'size' and 'counts'")
    size, counts = mask["size"], mask["counts"]
    if not (isinstance(size, Sequence) and len(size) == 2 and list(size) == [height, width]):
        raise ValueError(f"its size is {size!r} as [height, width], but the image has {[height, width]}")
    if isinstance(counts, str | bytes):
        lengths = read_counts(counts)
    elif isinstance(counts, Sequence) and all(type(count) is int and 0 <= count <= height * width for count in counts):
        lengths = np.asarray(counts, dtype=np.int64)
    else:
        raise ValueError(
            "its counts have to be a text, or a list of whole numbers that are not negative nor more than the pixels"
        )
    if int(lengths.min(initial=0)) < 0 or int(lengths.sum()) != height * width:
        raise ValueError(
            f"its counts cover {int(lengths.sum())} pixels, but the image has {height * width}, or some are negative"
        )
    if isinstance(counts, str | bytes):
        return {"size": [height, width], "counts": counts if isinstance(counts, str) else counts.decode("ascii")}
    compressed = coco_mask.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)
    return {"size": [height, width], "counts": compressed["counts"].decode()}


def read_counts(text: str | bytes) -> np.ndarray:
    """Return the run lengths (n,) int64 that a text compresses.

    Every character carries five bits, from the lowest on; a sixth says that the number goes on. From the third run on a
    number is the difference to the run two places before.

    Raises:
        ValueError: the text has characters that do not occur in such texts, or ends within a number.
    """
    try:
        data = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise ValueError("its counts have characters that no run lengths have") from None
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("its counts have characters that no run lengths have")
    last = (codes & 32) == 0
    if not last[-1]:
        raise ValueError("its counts end within a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= LONGEST_CODE:
        raise ValueError(f"its counts have a number of more than {LONGEST_CODE} characters")
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    negative = (codes[ends] & 16) != 0
    numbers -= np.where(negative, np.int64(1) << (5 * (ends - starts + 1)), 0)
    numbers[1::2], numbers[2::2] = numbers[1::2].cumsum(), numbers[2::2].cumsum()
    return numbers
