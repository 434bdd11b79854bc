"""The sizes of batches that a backbone takes; every caller of a backbone pads by these rules.

Detectron2's backbones declare them as `size_divisibility` and `padding_constraints`, and its detectors pass both to
`ImageList.from_tensors`. Four cases in which that fails are handled here:

* `SimpleFeaturePyramid` spells its key `size_divisiblity`, which `ImageList` does not read: the patches of the
  transformer would drop the last rows and columns of the image, and stretch boxes by as much. Both spellings count.
* A plain `ViT` drops them too and declares nothing: its patch size counts.
* `SwinTransformer.size_divisibility` raises `AttributeError`. It pads its own maps, and takes any size.
* An image larger than the square of `square_size` would be cropped silently: it is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from detectron2.modeling import Backbone, ViT
from detectron2.structures import ImageList
from torch import Tensor, nn

SPELLINGS = ("size_divisibility", "size_divisiblity")
INNER = ("bottom_up", "net")  # the networks inside of Detectron2's FPN and SimpleFeaturePyramid


@dataclass(frozen=True, slots=True)
class PaddingRule:
    """Which heights and widths a backbone takes."""

    divisor: int = 1  # of height and width
    square: int = 0  # side of the square that all images are padded to; 0: none

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of a padded batch, from the largest height and width of its images.

        Raises:
            ValueError: the image does not fit into the square.
        """
        if self.square:
            if max(height, width) > self.square:
                raise ValueError(
                    f"an image of {height}x{width} pixels does not fit into the square of {self.square} that the "
                    "backbone is set to pad to: resize images to at most that, or set the backbone's square_pad=0"
                )
            height = width = self.square
        # nothing negative is divided: ONNX rounds such a quotient towards zero
        rows, columns = ((side + self.divisor - 1) // self.divisor for side in (height, width))
        return rows * self.divisor, columns * self.divisor


def padding_rule(backbone: nn.Module, least_divisor: int = 1) -> PaddingRule:
    """Return the rule of a backbone; a backbone that declares none takes any size.

    Args:
        backbone: any backbone; the network inside of a pyramid has a say too.
        least_divisor: sides are a multiple of it in any case.

    Raises:
        ValueError: the two pad to squares of different sides.
    """
    constraints = getattr(backbone, "padding_constraints", {})
    divisor = getattr(backbone, "size_divisibility", 0)
    for key in SPELLINGS:
        divisor = constraints.get(key, divisor)
    if isinstance(backbone, ViT):
        divisor = max(backbone.patch_embed.proj.stride)
    divisor = math.lcm(max(divisor, 1), least_divisor)
    square = max(constraints.get("square_size", 0), 0)
    for name in INNER:
        if isinstance(network := getattr(backbone, name, None), Backbone):
            inner = padding_rule(network)
            if 0 not in (square, inner.square) and square != inner.square:
                raise ValueError(
                    f"the backbone pads to a square of {square}, and the network in it ({name}) to one of "
                    f"{inner.square}: set both square_pad to the same side"
                )
            divisor, square = math.lcm(divisor, inner.divisor), square or inner.square
    return PaddingRule(divisor=divisor, square=square)


def padded_size(backbone: nn.Module, height: int, width: int, least_divisor: int = 1) -> tuple[int, int]:
    """Return the height and width of a batch, padded for a backbone, from the largest height and width of its images.

    Args:
        backbone: the backbone that takes the batch.
        height: in pixels.
        width: in pixels.
        least_divisor: see `padding_rule`.

    Raises:
        ValueError: a side is not positive, or the image does not fit into the square that the backbone pads to.
    """
    if height < 1 or width < 1:
        raise ValueError(f"the image must have a positive size, found height {height} and width {width}")
    return padding_rule(backbone, least_divisor).padded_size(height, width)


def batch_images(images: Sequence[Tensor], backbone: nn.Module, least_divisor: int = 1) -> ImageList:
    """Put images (3, H, W) of any sizes into one batch, padded with zeros to the right and at the bottom.

    Args:
        images: at least one image.
        backbone: the backbone that takes the batch.
        least_divisor: see `padding_rule`.

    Raises:
        ValueError: an image does not fit into the square that the backbone pads to.
    """
    rule = padding_rule(backbone, least_divisor)
    for image in images:
        rule.padded_size(image.shape[-2], image.shape[-1])
    return ImageList.from_tensors(
        list(images), rule.divisor, padding_constraints={"square_size": rule.square} if rule.square else None
    )


def pad_batch(images: Tensor, backbone: nn.Module, least_divisor: int = 1) -> Tensor:
    """Pad a batch (B, 3, H, W) with zeros to a size that the backbone takes; H and W may be symbols of a trace.

    Args:
        images: (B, 3, H, W).
        backbone: the backbone that takes the batch.
        least_divisor: see `padding_rule`.

    Raises:
        ValueError: the batch does not fit into the square that the backbone pads to.
    """
    rule = padding_rule(backbone, least_divisor)
    if rule == PaddingRule():
        return images
    height, width = images.shape[-2:]
    padded_height, padded_width = rule.padded_size(height, width)
    return F.pad(images, (0, padded_width - width, 0, padded_height - height))
