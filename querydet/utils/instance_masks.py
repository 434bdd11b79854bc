"""Masks of detections, whichever way a detector gives them: `pred_masks` as bitmaps, `pred_masks_rle` as run lengths.

A detector without masks has neither field.
"""

import torch
from detectron2.structures import Instances
from torch import Tensor

from querydet.utils.run_lengths import RunLengths, checked, decode_masks, encode_masks

BITMAPS = "pred_masks"  # (n, H, W) bool
RUN_LENGTHS = "pred_masks_rle"  # a list of n run lengths, as of `encode_masks`


def has_masks(instances: Instances) -> bool:
    """Return whether detections have masks; true for an image without detections of a detector with masks."""
    return instances.has(BITMAPS) or instances.has(RUN_LENGTHS)


def masks_of(instances: Instances) -> Tensor:
    """Return the masks (n, H, W) bool of detections; run lengths are decoded, to the CPU.

    Raises:
        KeyError: the detections have no masks.
        ValueError: the masks are not bool, or not of the size of the image.
    """
    if instances.has(BITMAPS):
        return _checked_bitmaps(instances)
    height, width = instances.image_size
    return decode_masks(run_lengths_of(instances), height, width)


def run_lengths_of(instances: Instances) -> list[RunLengths]:
    """Return the masks of detections as n run lengths with texts as counts; bitmaps are encoded.

    Raises:
        KeyError: the detections have no masks.
        ValueError: the masks are not bool, no run lengths, or not of the size of the image.
    """
    if not has_masks(instances):
        raise KeyError(f"the detections have no masks: neither {BITMAPS} nor {RUN_LENGTHS}")
    if not instances.has(RUN_LENGTHS):
        return encode_masks(_checked_bitmaps(instances))
    height, width = instances.image_size
    return [_checked_mask(index, mask, height, width) for index, mask in enumerate(instances.get(RUN_LENGTHS))]


def without_masks(instances: Instances) -> Instances:
    """Return the detections without their masks, which bitmaps make large."""
    fields = {name: values for name, values in instances.get_fields().items() if name not in (BITMAPS, RUN_LENGTHS)}
    return Instances(instances.image_size, **fields)


def select(instances: Instances, chosen: Tensor) -> Instances:
    """Return the chosen detections, also of run lengths, which `instances[chosen]` cannot choose from a list.

    Args:
        instances: n detections.
        chosen: (n,) bool, or indices in the new order.
    """
    if not instances.has(RUN_LENGTHS):
        return instances[chosen]
    fields = dict(instances.get_fields())
    masks = fields.pop(RUN_LENGTHS)
    indices = chosen.nonzero().flatten() if chosen.dtype == torch.bool else chosen
    selected = {name: values[chosen] for name, values in fields.items()}
    return Instances(instances.image_size, **selected, **{RUN_LENGTHS: [masks[index] for index in indices.tolist()]})


def _checked_bitmaps(instances: Instances) -> Tensor:
    masks: Tensor = instances.get(BITMAPS)
    if masks.dtype != torch.bool or masks.shape[1:] != torch.Size(instances.image_size):
        raise ValueError(
            f"{BITMAPS} has to be bool of shape (n, {', '.join(map(str, instances.image_size))}), as the image is, "
            f"but it is {masks.dtype} of shape {tuple(masks.shape)}"
        )
    return masks


def _checked_mask(index: int, mask: RunLengths, height: int, width: int) -> RunLengths:
    try:
        return checked(mask, height, width)
    except ValueError as error:
        raise ValueError(f"{RUN_LENGTHS}: mask {index}: {error}") from None
