"""What the queries of a detector do on one image: where they start, move to and look, and what they predict."""

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
    """Where an image's queries look in one layer, and how much each point counts."""

    locations: Tensor  # (Q, M, L, P, 2) as (x, y), parts of the image; beyond 0 and 1 they are outside
    weights: Tensor  # (Q, M, L, P); those of a query and head sum to one


@dataclass(frozen=True, slots=True)
class Inspection:
    """The way of an image's queries through the decoder; everything is on the CPU."""

    references: tuple[Tensor, ...]  # of each layer (Q, 4) boxes or (Q, 2) points, normalised: what it samples around
    logits: Tensor  # (D, Q, K)
    boxes: Tensor  # (D, Q, 4), normalised: what each layer predicts
    sampling: tuple[SamplingPoints, ...]  # of each layer; empty for a decoder that does not sample
    record: QueryRecord

    @property
    def num_layers(self) -> int:
        """D."""
        return len(self.boxes)

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.boxes.shape[1]

    def best_queries(self, count: int) -> list[int]:
        """The queries of the highest scores after the last layer, the best first."""
        scores = self.logits[-1].sigmoid().amax(-1)
        return scores.topk(min(count, len(scores))).indices.tolist()

    def label(self, query: int, layer: int = -1) -> tuple[int, float]:
        """The class that a query gives the highest score after a layer, and the score."""
        score, label = self.logits[layer, query].sigmoid().max(-1)
        return int(label), float(score)

    def check_query(self, query: int) -> int:
        """The query itself.

        Raises:
            ValueError: there is none of this number.
        """
        return _check("query", query, self.num_queries)

    def check_layer(self, layer: int) -> int:
        """The index of a decoder layer that users count from 1.

        Raises:
            ValueError: there is none of this number.
        """
        return _check("decoder layer", layer - 1, self.num_layers, first=1)

    def sampled(self, layer: int) -> SamplingPoints:
        """The sampling points of the layer with this index.

        Raises:
            ValueError: the decoder does not sample.
        """
        if not self.sampling:
            raise ValueError(
                "this model has no sampling points: its decoder attends to all tokens, as DETR's and Conditional "
                "DETR's do; deformable models have them"
            )
        return self.sampling[layer]


def inspect_image(model: nn.Module, sample: dict[str, Any]) -> Inspection:
    """Detects on one image and records what its queries did. The model and its mode stay as they are.

    Args:
        model: a detector of this project.
        sample: an input of the model.

    Raises:
        TypeError: another kind of model.
    """
    if not isinstance(model, QueryDetector):
        raise TypeError(f"only a querydet detector has queries to look at, not a {type(model).__name__}")
    recorder = WithQueries(model).train(model.training)
    with ExitStack() as stack:
        encoded = stack.enter_context(listen(model.get_submodule("encoder")))
        decoded = stack.enter_context(listen(model.get_submodule("decoder")))
        sampled = [stack.enter_context(listen_sampling(each)) for each in _attentions(model.get_submodule("decoder"))]
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
    """Collects where a deformable attention samples at every call, for whole batches.

    The operator itself goes from offsets and logits to the sum, without ever making locations and weights: they are
    computed here from what the module is called with, by the operator's definition.

    Yields:
        A list that grows by ``SamplingPoints`` of (B, Q, M, L, P, 2) locations, normalised by each level with its
        padding, and (B, Q, M, L, P) weights.
    """
    found: list[SamplingPoints] = []
    signature = inspect.signature(attention.forward)

    @torch.no_grad()
    def keep(module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        given = signature.bind(*inputs, **options).arguments
        offsets, logits = module.predict_points(given["query"])
        locations = locate_samples(given["reference_boxes"].float(), offsets.float(), given["spatial_shapes"])
        found.append(SamplingPoints(locations, normalize_logits(logits)))

    handle = attention.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def _attentions(decoder: nn.Module) -> list[MultiScaleDeformableAttention]:
    """The deformable attention of each layer."""
    return [module for module in decoder.modules() if isinstance(module, MultiScaleDeformableAttention)]


def _of_image(points: SamplingPoints, memory: TokenPyramid) -> SamplingPoints:
    """Those of the first image of a batch, on the CPU, with locations as parts of the image instead of the level."""
    ratios = memory.valid_ratios[0].to(points.locations)  # (L, 2)
    locations = points.locations[0] / ratios[:, None]
    return SamplingPoints(locations.cpu(), points.weights[0].float().cpu())


def _check(what: str, number: int, count: int, first: int = 0) -> int:
    if not 0 <= number < count:
        raise ValueError(f"there is no {what} {number + first}: they are {first} to {count - 1 + first}")
    return number


def check_heads(points: SamplingPoints, heads: Sequence[int]) -> list[int]:
    """Heads of an attention; none given: all of them.

    Raises:
        ValueError: there is none of a number.
    """
    count = points.weights.shape[1]
    return [_check("head", head, count) for head in heads] or list(range(count))
