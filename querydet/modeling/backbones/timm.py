"""Any network of timm that gives maps of intermediate layers, as a Detectron2 backbone.

timm (https://github.com/huggingface/pytorch-image-models) is needed to build one: `pip install timm`. Its own weights,
in .safetensors or .pth files, are loaded by `train.init_checkpoint` under the names that they have there.

Different from timm's `features_only`: names of weights are those of the whole network, and the strides and sizes of the
maps are found by trial (`probing`), not read from a table.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from querydet.modeling.backbones.adapter import BUILDING, Adapter, AdapterSettings, check_options
from querydet.utils.texts import nearest

# Arguments that let a transformer take images of any size; the first that a network knows is used.
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
_WEIGHTS = "weights are loaded by train.init_checkpoint, and nothing is downloaded"
_OWN = "the adapter sets it"
RESERVED = {
    **dict.fromkeys(("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"), _WEIGHTS),
    **dict.fromkeys(("cache_dir", "pretrained_strict", "pretrained_filter_fn"), _WEIGHTS),
    **dict.fromkeys(("features_only", "out_indices", "feature_cfg", "num_classes", "in_chans", "model_name"), _OWN),
}


class TimmBackbone(Adapter):
    """A network of timm.

    Args:
        name: timm's name of the network, which may end in the tag of its weights: "convnext_tiny.fb_in22k". The tag
            decides the normalisation of the image.
        out_features, norm, freeze, pad_to_divisor, square_pad, pixel_mean, pixel_std: see `adapter.AdapterSettings`.
        options: further arguments of the network, such as `drop_path_rate`.

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: timm has no such network, or it cannot serve (see `adapter.Adapter`); the message says what can.
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
        net = _build(name, check_options(options or {}, RESERVED), square_pad)
        settings = AdapterSettings(
            out_features=out_features,
            norm=norm,
            freeze=freeze,
            pad_to_divisor=pad_to_divisor,
            square_pad=square_pad,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
        )
        self._recomputes = False
        super().__init__(name=name, net=net, settings=settings, pixels=_pixels(net))

    def with_norm(self, net: nn.Module, norm: str) -> nn.Module:
        """Turn batch norms into others; the activations that timm puts into some of them stay."""
        layers = _timm().layers
        if norm == "FrozenBN":
            return layers.freeze_batch_norm_2d(net)
        return layers.convert_sync_batchnorm(net) if norm == "SyncBN" else net

    def all_maps(self, images: Tensor) -> Sequence[Tensor]:
        """Return all maps of images (B, 3, H, W)."""
        return self._intermediates(images, None)

    def maps(self, images: Tensor, indices: Sequence[int]) -> Sequence[Tensor]:
        """Return maps of images (B, 3, H, W)."""
        return self._intermediates(images, list(indices))

    def drop_unused(self, indices: Sequence[int]) -> None:
        """Drop layers behind the last map, the last norm and the classifier."""
        net: Any = self.net
        net.prune_intermediate_layers(list(indices), prune_norm=True, prune_head=True)

    def _intermediates(self, images: Tensor, indices: list[int] | None) -> Sequence[Tensor]:
        net: Any = self.net
        return net.forward_intermediates(
            images, indices=indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )

    @property
    def activation_checkpointing(self) -> bool:
        """Whether blocks recompute their activations in the backward pass."""
        return self._recomputes

    @activation_checkpointing.setter
    def activation_checkpointing(self, enable: bool) -> None:
        net: Any = self.net
        net.set_grad_checkpointing(enable)
        self._recomputes = enable


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ModuleNotFoundError("TimmBackbone builds networks of timm: pip install timm", name="timm") from error


def _build(name: str, options: Mapping[str, Any], square: int) -> nn.Module:
    timm = _timm()
    if not timm.is_model(name.split(".")[0]):
        near = ", ".join(nearest(name, timm.list_models(), 3))
        raise ValueError(f"timm {timm.__version__} has no network '{name}'; the nearest names are {near}")
    sized = [{"img_size": (square, square)}, *ANY_SIZE] if square and "img_size" not in options else ANY_SIZE
    for index, extra in enumerate(sized):
        try:
            net = timm.create_model(name, pretrained=False, num_classes=0, **{**extra, **options})
            break
        except BUILDING as error:
            if index == len(sized) - 1 or not isinstance(error, TypeError):  # which an unknown argument raises
                raise ValueError(f"timm cannot build '{name}' with {dict(options)}: {error}") from error
    if not hasattr(net, "forward_intermediates"):
        raise ValueError(f"timm's '{name}' gives no maps of intermediate layers (forward_intermediates): take another")
    return net


def _pixels(net: Any) -> tuple[list[float], list[float]]:
    cfg = net.pretrained_cfg
    mean, std = ([255.0 * value for value in cfg[key]] for key in ("mean", "std"))
    return mean, std
