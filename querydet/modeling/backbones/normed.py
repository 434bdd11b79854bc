"""Networks of timm with a layer norm on every map, as detectors read ConvNeXt and FocalNet.

The released detectors on these networks (their papers' repositories, and detrex) normalise each map that they read, as
Swin Transformer does. timm's networks give the raw maps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.layers.batch_norm import LayerNorm
from torch import Tensor

from querydet.modeling.backbones.timm import TimmBackbone

EPS = 1e-6  # ConvNeXt's; detrex's FocalNet has PyTorch's 1e-5


class NormedTimmBackbone(TimmBackbone):
    """A network of timm, and a norm over the channels of each of its maps.

    The norms are new, and named as in detrex: `norm0` of stride 4 to `norm3` of stride 32.

    Args:
        name, out_features, norm, freeze, pad_to_divisor, square_pad, pixel_mean, pixel_std, options: as in the
            base class.

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: from `TimmBackbone`.
    """

    def __init__(
        self,
        *,
        name: str,
        out_features: Sequence[str] = ("p3", "p4", "p5"),
        norm: str = "FrozenBN",
        freeze: Sequence[str] = (),
        pad_to_divisor: bool = True,
        square_pad: int = 0,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            name=name,
            out_features=out_features,
            norm=norm,
            freeze=freeze,
            pad_to_divisor=pad_to_divisor,
            square_pad=square_pad,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            options=options,
        )
        for key, shape in self.output_shape().items():
            self.add_module(_norm_of(key), LayerNorm(shape.channels, eps=EPS))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps (B, C, H / stride, W / stride) of images (B, 3, H, W), by name.

        Raises:
            ValueError: height or width is no multiple of `size_divisibility`.
        """
        return {key: getattr(self, _norm_of(key))(each) for key, each in super().forward(images).items()}


def _norm_of(key: str) -> str:
    """Return the name of the norm of a map "p2" to "p5"."""
    return f"norm{int(key[1:]) - 2}"
