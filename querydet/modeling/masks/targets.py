"""The masks of the objects of a batch, from Detectron2's annotated inputs."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import BitMasks, Instances, PolygonMasks
from torch import Tensor

from querydet.mask_structures import ObjectMasks
from querydet.modeling.masks.points import SeededDraws
from querydet.utils.transfer import send


def object_masks(
    batched_inputs: Sequence[dict[str, Any]],
    names: Sequence[str],
    canvas: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> ObjectMasks:
    """Collect the masks of a batch.

    Args:
        batched_inputs: Detectron2's dicts with `instances` that have `gt_masks`, and optionally `seed` of the image's
            random draws.
        names: of the images, for messages.
        canvas: height and width of the padded images.
        device: device of the returned tensors.
        dtype: type of predicted masks.

    Raises:
        ValueError: an image has no masks, or masks of another size or number.
    """
    bitmaps = [bitmaps_of(inputs["instances"], name) for inputs, name in zip(batched_inputs, names, strict=True)]
    sizes = torch.tensor([masks.shape[1:] for masks in bitmaps for _ in masks], dtype=torch.int64).view(-1, 2)
    areas = sizes.prod(1)
    pixels = torch.cat([masks.flatten() for masks in bitmaps])
    return ObjectMasks(
        pixels=send(pixels, device),
        starts=send(areas.cumsum(0) - areas, device),
        sizes=send(sizes, device),
        canvas=canvas,
        draws=SeededDraws([inputs.get("seed") for inputs in batched_inputs], device, dtype),
    )


def bitmaps_of(instances: Instances, name: str) -> Tensor:
    """Return the masks (T, H, W) bool of the objects of an image; polygons are filled.

    Args:
        instances: the annotations of the image.
        name: of the image, for messages.

    Raises:
        ValueError: there are none, of another type, or of another size than the image.
    """
    if not instances.has("gt_masks"):
        raise ValueError(
            f"{name}: the model predicts masks, but the annotations have none: set dataloader.train.dataset.masks=True "
            "for data with outlines, or take the model without masks (model.masks=null, and null for their losses)"
        )
    masks, size = instances.gt_masks, tuple(instances.image_size)
    if isinstance(masks, PolygonMasks):
        masks = BitMasks.from_polygon_masks(masks, *size)
    bitmaps = masks.tensor if isinstance(masks, BitMasks) else masks
    if not isinstance(bitmaps, Tensor) or bitmaps.dim() != 3:
        raise ValueError(
            f"{name}: gt_masks must be Detectron2's BitMasks or PolygonMasks, or a tensor (T, H, W), found "
            f"{type(masks).__name__}"
        )
    if tuple(bitmaps.shape[1:]) != size:
        raise ValueError(
            f"{name}: the masks have {bitmaps.shape[1]}x{bitmaps.shape[2]} pixels (height x width), but the image has "
            f"{size[0]}x{size[1]}: transform both together"
        )
    return bitmaps.bool()
