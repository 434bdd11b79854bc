"""What evaluators see of the inside of a detector: where its queries start, and what every layer makes of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from torch import Tensor, nn

from querydet.evaluation.per_image import ImageTruth
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.boxes import xyxy_to_cxcywh
from querydet.modeling.detector import QueryDetector
from querydet.structures import PRIMARY, PredictionSet, QueryGroup, Stage, Targets

QUERIES = "queries"  # key of an output under which its `QueryRecord` is


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """The queries of one image that inference keeps, in their order from the input of the decoder to its output."""

    start: Tensor  # (Q, 4) boxes or (Q, 2) points, normalised: the references that the first decoder layer samples at
    logits: Tensor  # (D, Q, K), of every decoder layer
    boxes: Tensor  # (D, Q, 4), normalised
    tokens: Tensor | None = None  # (Q,) int64, the encoder's token that each query was made from; None: learned queries

    def cpu(self) -> "QueryRecord":
        """The same on the CPU."""
        tokens = None if self.tokens is None else self.tokens.cpu()
        return QueryRecord(self.start.cpu(), self.logits.cpu(), self.boxes.cpu(), tokens)


class WithQueries(nn.Module):
    """A detector whose outputs also hold the `QueryRecord` of each image as ``"queries"``; for evaluation alone.

    The detector runs as it always does; its selection and its decoder are listened to, and the heads read the layers
    that inference does not.

    Args:
        model: the detector.
    """

    def __init__(self, model: QueryDetector) -> None:
        super().__init__()
        self.model = model

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detect: the detector's outputs, each with ``"queries"``.

        Raises:
            ValueError: in training mode.
        """
        if self.training:
            raise ValueError("queries are recorded in evaluation mode alone: call eval() first")
        with (
            listen(self.model.get_submodule("selection")) as selected,
            listen(self.model.get_submodule("decoder")) as decoded,
        ):
            found = self.model(batched_inputs)
        ((initial,),) = selected
        (layers,) = decoded
        sets = self.model.heads(layers, (initial.group,), last_only=False)
        logits = torch.stack([each.logits for each in sets], dim=1)
        boxes = torch.stack([each.boxes for each in sets], dim=1)
        for image, output in enumerate(found):
            tokens = None if initial.tokens is None else initial.tokens[image]
            output[QUERIES] = QueryRecord(initial.boxes[image], logits[image], boxes[image], tokens)
        return found


@contextmanager
def listen(module: nn.Module) -> Iterator[list[Any]]:
    """Collects what a module returns."""
    outputs: list[Any] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.append(output)

    handle = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


def record_queries(model: nn.Module, evaluator: DatasetEvaluator) -> nn.Module:
    """The model, or where an evaluator looks at the queries of a `QueryDetector`, the model that records them."""
    wanted = isinstance(model, QueryDetector) and uses_queries(evaluator)
    return WithQueries(model) if wanted else model  # type: ignore[arg-type]


def uses_queries(evaluator: DatasetEvaluator) -> bool:
    """Whether an evaluator, or one of several, looks at ``"queries"``."""
    if isinstance(evaluator, DatasetEvaluators):
        return any(uses_queries(each) for each in evaluator._evaluators)
    return bool(getattr(evaluator, "uses_queries", False))


def queries_of(output: dict[str, Any], name: str) -> QueryRecord:
    """The queries of an image, on the CPU.

    Args:
        output: of the model.
        name: of the evaluator, for the message.

    Raises:
        ValueError: there are none.
    """
    if QUERIES not in output:
        raise ValueError(
            f"{name} measures the queries of a querydet detector, and the model's outputs hold {sorted(output)}: wrap "
            "the detector in querydet.evaluation.WithQueries (train_net.py does so by itself), without test-time "
            "augmentation"
        )
    record = output[QUERIES].cpu()
    if not all(bool(each.isfinite().all()) for each in (record.start, record.logits, record.boxes)):
        raise ValueError(f"{name}: the queries hold NaN or infinite logits or boxes")
    return record


def match_queries(record: QueryRecord, truth: ImageTruth, assigner: HungarianAssigner) -> tuple[Tensor, Tensor]:
    """The bipartite matching of the last layer with the objects that are no crowd regions.

    Args:
        record: of an image.
        truth: its annotations.
        assigner: the one of training.

    Returns:
        Queries (n,) in rising order and objects (n,), which count without crowd regions.
    """
    objects = truth.objects()
    group = QueryGroup(PRIMARY, 0, record.boxes.shape[1])
    last = len(record.boxes) - 1
    predictions = PredictionSet(
        stage=Stage.DECODER,
        layer=last,
        is_last=True,
        group=group,
        logits=record.logits[last][None],
        boxes=record.boxes[last][None],
        start_boxes=record.start[None],
    )
    targets = Targets(
        labels=(objects.labels,),
        boxes=(xyxy_to_cxcywh(objects.normalised_xyxy()).to(record.boxes.dtype),),
        names=("an image",),
        seeds=(None,),
        mean_objects_per_micro_batch=float(len(objects)),
        max_objects=len(objects),
    )
    (found,) = assigner(predictions, targets)
    return found.queries, found.objects
