"""Parameters of a detector, and floating-point operations of one image.

Nothing is computed: models are copied to the meta device, where tensors have shapes and no contents, so that Swin-L is
counted in seconds on a laptop. Two conventions are offered, because published numbers use both:

* `FlopCounterMode` of PyTorch: 2 per multiply-add of convolutions, linear layers and matrix products, nothing else.
* The benchmark of DINO's released code (after that of DETR): 1 per multiply-add of the same, and some element-wise
  work, see `ELEMENTWISE_RULES`.

Neither includes the sampling of deformable attention. It has a formula here (`sampling_flops`), registered with PyTorch
when this module is imported, and is always reported separately.

The count is for inference, which applies the heads to the last decoder layer only. The released code also applies them
to the earlier layers, whose predictions only training needs: 0.1 to 0.4 % more.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from querydet.analysis.detection_masks import DetectionMasks
from querydet.modeling.backbones import padded_size
from querydet.modeling.detector import QueryDetector
from querydet.ops.ms_deform_attn import OPERATOR as SAMPLING
from querydet.ops.native import separate_operators
from querydet.utils.lazy import instantiate
from querydet.utils.real_values import RealValues

OPERATOR = f"querydet.{SAMPLING.name}"  # as PyTorch prints it

# For one sample of one channel: the interpolation of four pixels, and the attention weight.
_MULTIPLY_ADDS_PER_SAMPLE = 4 + 1

_aten = torch.ops.aten

# Cost of each element of the result, as DINO's benchmark counts it. Inferred from its counts by operator of the
# released models: norms and the softmax of self-attention agree to the last printed digit. A frozen batch norm is a
# product and a sum there. Left out: dropout, which does nothing at inference but is counted there (0.1 %), pooling and
# resizing (under 0.01 %), and what those models do not have (GELU).
ELEMENTWISE_RULES: Mapping[Any, int] = {
    _aten.native_layer_norm: 5,
    _aten.native_group_norm: 5,
    _aten.native_batch_norm: 2,
    _aten._native_batch_norm_legit_no_training: 2,
    _aten._softmax: 5,
    _aten._safe_softmax: 5,
    _aten.add: 1,
    _aten.add_: 1,
    _aten.sub: 1,
    _aten.rsub: 1,
    _aten.mul: 1,
    _aten.div: 1,
    _aten.relu: 1,
    _aten.relu_: 1,
    _aten.sin: 1,
    _aten.cos: 1,
    _aten.log: 1,
    _aten.sigmoid: 1,
}


@register_flop_formula(torch.ops.querydet.ms_deform_attn)
def sampling_flops(
    value: Sequence[int],
    spatial_shapes: Sequence[int],
    sampling_locations: Sequence[int],
    attention_weights: Sequence[int],
    **_: Any,
) -> int:
    """Count the floating-point operations of the deformable attention operator, 2 per multiply-add.

    Each sampled point and channel costs 4 multiply-adds of bilinear interpolation and 1 of the attention weight. The
    coordinates, computed once for all channels of a head, are not counted, nor are the projections around the
    operator, which are linear layers.

    Args:
        value: the shape (B, S, M, D).
        spatial_shapes: sizes of the levels; unused.
        sampling_locations: the shape (B, Q, M, L, P, 2).
        attention_weights: the shape (B, Q, M, L, P).
    """
    return 2 * _MULTIPLY_ADDS_PER_SAMPLE * math.prod(attention_weights) * value[-1]


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Numbers of parameters; a shared parameter counts once, in the part where it appears first."""

    total: int
    trainable: int
    by_part: dict[str, tuple[int, int]]  # part of the model: (total, trainable)

    @property
    def frozen(self) -> int:
        """Return the number of parameters that training leaves unchanged, such as the first stages of a backbone."""
        return self.total - self.trainable


@dataclass(frozen=True, slots=True)
class FlopCount:
    """Floating-point operations of one forward pass; an operator or module that is not listed has none."""

    by_op: dict[str, int]  # 2 per multiply-add, with the sampling operator under OPERATOR
    by_module: dict[str, dict[str, int]]  # the same for the forward pass of each module, by its dotted name
    elementwise: dict[str, int]  # by ELEMENTWISE_RULES, 1 per operation

    @property
    def total(self) -> int:
        """Sum all operators, the sampling operator included, with 2 per multiply-add."""
        return sum(self.by_op.values())

    @property
    def operator(self) -> int:
        """Return the count of the sampling operator, with 2 per multiply-add."""
        return self.by_op.get(OPERATOR, 0)

    @property
    def without_operator(self) -> int:
        """Return the count of PyTorch's `FlopCounterMode` without our formula: 2 per multiply-add."""
        return self.total - self.operator

    @property
    def multiply_adds(self) -> int:
        """Return the multiply-adds without the sampling operator."""
        return self.without_operator // 2

    @property
    def dino_benchmark(self) -> int:
        """Return the count of DINO's benchmark: multiply-adds and element-wise work, without the sampling operator."""
        return self.multiply_adds + sum(self.elementwise.values())


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count the parameters of a model and of its direct children.

    Parameters that belong to the model itself and to no child are listed under the empty name.
    """
    by_part: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        part = name.split(".")[0] if "." in name else ""
        total, trainable = by_part.get(part, (0, 0))
        by_part[part] = (total + parameter.numel(), trainable + parameter.numel() * parameter.requires_grad)
    return ParameterCount(
        total=sum(total for total, _ in by_part.values()),
        trainable=sum(trainable for _, trainable in by_part.values()),
        by_part=by_part,
    )


def count_flops(model: QueryDetector, height: int, width: int) -> FlopCount:
    """Count the floating-point operations of inference on one image, from its pixels to logits, boxes and masks.

    The model is not changed and may be on any device. Normalising the image, selecting the best detections and resizing
    their masks are not counted. Masks are those of as many queries as there are detections; each makes its mask once.

    Args:
        model: a detector.
        height: of the image, in pixels; the size that it is padded to is counted.
        width: of the image, in pixels.

    Raises:
        ValueError: height or width is not positive or more than the backbone takes, or the image has fewer tokens than
            the model selects queries.
    """
    size = padded_size(model.backbone, height, width, model.size_divisibility)
    image = torch.empty(1, 3, *size, device="meta")
    padding = torch.empty(1, *size, dtype=torch.bool, device="meta")
    count = count_module_flops(_Inference(model), image, padding)
    prefix = "detector."
    by_module = {name.removeprefix(prefix): ops for name, ops in count.by_module.items() if name.startswith(prefix)}
    if detection_masks := count.by_module.get("detection_masks"):
        before = by_module.get("masks", {})
        by_module["masks"] = {
            op: before.get(op, 0) + detection_masks.get(op, 0) for op in {**before, **detection_masks}
        }
    return replace(count, by_module=by_module)


def count_module_flops(module: nn.Module, *inputs: Tensor) -> FlopCount:
    """Count the floating-point operations of a module's forward pass in evaluation mode.

    Args:
        module: any module that runs on the meta device, that is, never reads the contents of tensors. It is not
            changed: a copy is counted.
        inputs: tensors of the right shapes and dtypes, on any device.
    """
    module = copy.deepcopy(module).to("meta").eval()
    module.requires_grad_(False)  # FlopCounterMode follows gradients of module inputs, and fails under no_grad
    rules: dict[Any, Callable[..., int]] = {packet: _per_element(cost) for packet, cost in ELEMENTWISE_RULES.items()}
    counter = FlopCounterMode(display=False, custom_mapping=rules)
    # Locations and weights are then computed by operators of PyTorch, which count as element-wise work.
    with torch.device("meta"), torch.no_grad(), separate_operators(), counter:
        module(*(tensor.to("meta") for tensor in inputs))
    counts = counter.get_flop_counts()
    everything = counts.get("Global", {})
    prefix = type(module).__name__ + "."
    return FlopCount(
        by_op=_named(everything, elementwise=False),
        by_module={
            name.removeprefix(prefix): _named(ops, elementwise=False)
            for name, ops in counts.items()
            if name.startswith(prefix)
        },
        elementwise=_named(everything, elementwise=True),
    )


def build_on_meta(model_config: DictConfig) -> nn.Module:
    """Build a model without memory for its weights, for counting only.

    Args:
        model_config: the `model` node of a config; it is not changed.

    Raises:
        RuntimeError: a part reads the contents of a tensor while it is built.
    """
    with on_meta():
        return instantiate(without_stochastic_depth(model_config))


def without_stochastic_depth(model_config: DictConfig) -> DictConfig:
    """Return a model without the stochastic depth of its backbone, for which Detectron2's Swin needs timm.

    It has no parameters and is off in inference.

    Args:
        model_config: the `model` node of a config; it is not changed.
    """
    if model_config.get("backbone") is None or "drop_path_rate" not in model_config.backbone:
        return model_config
    config = copy.deepcopy(model_config)
    config.backbone.drop_path_rate = 0.0
    return config


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Make tensors without contents, and so without memory for them, meanwhile."""
    with torch.device("meta"), RealValues(torch.linspace):  # which Detectron2's Swin reads while it is built
        yield


class _Inference(nn.Module):
    """A detector between pre- and postprocessing, with the masks of detections.

    It is a module, so that the counter sees the names of its parts.
    """

    def __init__(self, detector: QueryDetector) -> None:
        super().__init__()
        self.detector = detector
        self.detection_masks = DetectionMasks(detector.postprocess)

    def forward(self, images: Tensor, padding: Tensor) -> None:
        """Predict for normalised images (B, 3, H, W) with padding (B, H, W)."""
        (last,) = self.detector.predict(self.detector.backbone(images), padding)
        self.detection_masks(last)


def _per_element(cost: int) -> Callable[..., int]:
    """Make a formula that counts `cost` for each element of the (first) result."""

    def formula(*_: Any, out_shape: Any, **__: Any) -> int:
        return cost * math.prod(out_shape if isinstance(out_shape, torch.Size) else out_shape[0])

    return formula


def _named(ops: Mapping[Any, int], *, elementwise: bool) -> dict[str, int]:
    return {str(packet): int(flops) for packet, flops in ops.items() if (packet in ELEMENTWISE_RULES) is elementwise}
