"""Inspection of a detector's queries on one image: references, sampling points and predictions of every layer."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from querydet.evaluation.prediction import run_model
from querydet.evaluation.query_predictions import QUERIES, QueryRecord, WithQueries, listen
from querydet.modeling.detector import QueryDetector
from querydet.modeling.layers import MultiScaleDeformableAttention
from querydet.ops.reference import locate_samples, normalize_logits
from querydet.structures import TokenPyramid


@dataclass(frozen=True, slots=True)
class SamplingPoints:
    """Sampling locations and attention weights of an image's queries in one layer."""

    locations: Tensor  # (Q, M, L, P, 2) as (x, y), normalised by the image; may lie outside of [0, 1]
    weights: Tensor  # (Q, M, L, P), which sum to one for each query and head


@dataclass(frozen=True, slots=True)
class Inspection:
    """The queries of an image in every decoder layer; all tensors are on the CPU."""

    references: tuple[Tensor, ...]  # input of each layer, (Q, 4) boxes or (Q, 2) points, normalised
    logits: Tensor  # (layers, Q, K)
    boxes: Tensor  # (layers, Q, 4), normalised, predicted by each layer
    sampling: tuple[SamplingPoints, ...]  # of each layer; empty for a decoder without deformable attention
    record: QueryRecord

    @property
    def num_layers(self) -> int:
        """Return the number of decoder layers."""
        return len(self.boxes)

    @property
    def num_queries(self) -> int:
        """Return the number of queries, Q."""
        return self.boxes.shape[1]

    def best_queries(self, count: int) -> list[int]:
        """Return the queries with the highest scores in the last layer, best first."""
        scores = self.logits[-1].sigmoid().amax(-1)
        return scores.topk(min(count, len(scores))).indices.tolist()

    def label(self, query: int, layer: int = -1) -> tuple[int, float]:
        """Return the class with the highest score of a query in a layer, and the score."""
        score, label = self.logits[layer, query].sigmoid().max(-1)
        return int(label), float(score)

    def check_query(self, query: int) -> int:
        """Return the index of a query unchanged.

        Raises:
            ValueError: there is no such query.
        """
        return _check("query", query, self.num_queries)

    def check_layer(self, layer: int) -> int:
        """Convert the number of a decoder layer, counted from 1, to its index.

        Raises:
            ValueError: there is no such layer.
        """
        return _check("decoder layer", layer - 1, self.num_layers, first=1)

    def sampled(self, layer: int) -> SamplingPoints:
        """Return the sampling points of the layer with this index.

        Raises:
            ValueError: the decoder has no deformable attention.
        """
        if not self.sampling:
            raise ValueError(
                "this model has no sampling points: its decoder has no deformable attention. DETR's and Conditional "
                "DETR's attend to all tokens; deformable models have sampling points"
            )
        return self.sampling[layer]


def inspect_image(model: nn.Module, sample: dict[str, Any]) -> Inspection:
    """Detect on one image and record its queries. The model and its mode are not changed.

    Args:
        model: a detector of this project.
        sample: an input of the model.

    Raises:
        TypeError: the model is of another type.
    """
    if not isinstance(model, QueryDetector):
        raise TypeError(f"only a querydet detector has queries to look at, not a {type(model).__name__}")
    recorder = WithQueries(model).train(model.training)
    with ExitStack() as stack:
        encoded = stack.enter_context(listen(model.get_submodule("encoder")))
        decoded = stack.enter_context(listen(model.get_submodule("decoder")))
        attentions = _attentions(model.get_submodule("decoder"))
        sampled = [stack.enter_context(listen_sampling(attention)) for attention in attentions]
        (output,) = run_model(recorder, [sample])
    (memory,), (layers,) = encoded, decoded
    record = output[QUERIES].cpu()
    return Inspection(
        references=tuple(layer.reference_boxes[0].float().cpu() for layer in layers),
        logits=record.logits,
        boxes=record.boxes,
        sampling=tuple(_of_image(points, memory) for (points,) in sampled),
        record=record,
    )


@contextmanager
def listen_sampling(attention: MultiScaleDeformableAttention) -> Iterator[list[SamplingPoints]]:
    """Record the sampling points of a deformable attention at every call, for whole batches.

    The operator itself goes from offsets and logits to the sum, without storing locations and weights: they are
    computed here from the arguments of the module, by the operator's definition.

    Yields:
        A list to which every call appends `SamplingPoints` of (B, Q, M, L, P, 2) locations, normalised by each level
        with its padding, and (B, Q, M, L, P) weights.
    """
    recorded: list[SamplingPoints] = []
    signature = inspect.signature(attention.forward)

    @torch.no_grad()
    def keep(module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        arguments = signature.bind(*inputs, **options).arguments
        offsets, logits = module.predict_points(arguments["query"])
        locations = locate_samples(arguments["reference_boxes"].float(), offsets.float(), arguments["spatial_shapes"])
        recorded.append(SamplingPoints(locations, normalize_logits(logits)))

    handle = attention.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield recorded
    finally:
        handle.remove()


def _attentions(decoder: nn.Module) -> list[MultiScaleDeformableAttention]:
    """Return the deformable attention of each layer."""
    return [module for module in decoder.modules() if isinstance(module, MultiScaleDeformableAttention)]


def _of_image(points: SamplingPoints, memory: TokenPyramid) -> SamplingPoints:
    """Select the first image of a batch, on the CPU, and normalise locations by the image without its padding."""
    ratios = memory.valid_ratios[0].to(points.locations)  # (L, 2)
    locations = points.locations[0] / ratios[:, None]
    return SamplingPoints(locations.cpu(), points.weights[0].float().cpu())


def _check(kind: str, index: int, count: int, first: int = 0) -> int:
    if not 0 <= index < count:
        raise ValueError(f"there is no {kind} {index + first}: they are {first} to {count - 1 + first}")
    return index


def check_heads(points: SamplingPoints, heads: Sequence[int]) -> list[int]:
    """Return the indices of attention heads; all if none are given.

    Raises:
        ValueError: there is no head with one of the indices.
    """
    count = points.weights.shape[1]
    return [_check("head", head, count) for head in heads] or list(range(count))
