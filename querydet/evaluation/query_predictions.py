"""Queries of a detector for evaluators: their initial references, and the predictions of every decoder layer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from torch import Tensor, nn

from querydet.evaluation.per_image import ImageTruth
from querydet.modeling.boxes import xyxy_to_cxcywh
from querydet.modeling.detector import QueryDetector
from querydet.parts import Assigner
from querydet.structures import PRIMARY, ObjectCount, PredictionSet, QueryGroup, Stage, Targets
from querydet.traits import trait

QUERIES = "queries"  # key of the `QueryRecord` in an output


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """The queries of one image in inference, in the order of the decoder's input and output."""

    start: Tensor  # (Q, 4) boxes or (Q, 2) points, normalised: references of the first decoder layer
    logits: Tensor  # (layers, Q, K), of every decoder layer
    boxes: Tensor  # (layers, Q, 4), normalised
    tokens: Tensor | None = None  # (Q,) int64, encoder token that each query was selected from; None: learned queries

    def cpu(self) -> "QueryRecord":
        """Copy the record to the CPU."""
        tokens = None if self.tokens is None else self.tokens.cpu()
        return QueryRecord(self.start.cpu(), self.logits.cpu(), self.boxes.cpu(), tokens)


class WithQueries(nn.Module):
    """A detector whose outputs also have the `QueryRecord` of each image as `"queries"`; for evaluation only.

    The detector runs unchanged; hooks on its selection and its decoder record their outputs, and the heads are also
    applied to the decoder layers that inference leaves out.

    Args:
        model: the detector.

    Raises:
        ValueError: the detector predicts no boxes.
    """

    def __init__(self, model: QueryDetector) -> None:
        super().__init__()
        if not trait(model.heads, "predicts_boxes"):
            raise ValueError(
                f"the queries of {type(model.heads).__name__} have no boxes, which this measure or picture compares: "
                "it is for detectors with a box head"
            )
        self.model = model

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detect; return the detector's outputs, each with `"queries"`.

        Raises:
            ValueError: the module is in training mode.
        """
        if self.training:
            raise ValueError("queries are recorded in evaluation mode alone: call eval() first")
        with (
            listen(self.model.get_submodule("selection")) as selected,
            listen(self.model.get_submodule("decoder")) as decoded,
        ):
            outputs = self.model(batched_inputs)
        ((initial,),) = selected
        (layers,) = decoded
        sets = self.model.heads(layers, (initial.group,), last_only=False)
        logits = torch.stack([layer.logits for layer in sets], dim=1)
        boxes = torch.stack([layer.boxes for layer in sets], dim=1)
        for image, output in enumerate(outputs):
            tokens = None if initial.tokens is None else initial.tokens[image]
            output[QUERIES] = QueryRecord(initial.boxes[image], logits[image], boxes[image], tokens)
        return outputs


@contextmanager
def listen(module: nn.Module) -> Iterator[list[Any]]:
    """Record the outputs of a module inside of this block."""
    outputs: list[Any] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.append(output)

    handle = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


def record_queries(model: nn.Module, evaluator: DatasetEvaluator) -> nn.Module:
    """Wrap a `QueryDetector` to record its queries if an evaluator needs them; return any other model unchanged."""
    needed = isinstance(model, QueryDetector) and uses_queries(evaluator)
    return WithQueries(model) if needed else model  # type: ignore[arg-type]


def uses_queries(evaluator: DatasetEvaluator) -> bool:
    """Return whether an evaluator, or one of several, needs `"queries"`."""
    if isinstance(evaluator, DatasetEvaluators):
        return any(uses_queries(member) for member in evaluator._evaluators)
    return bool(getattr(evaluator, "uses_queries", False))


def queries_of(output: dict[str, Any], name: str) -> QueryRecord:
    """Return the queries of an image, on the CPU.

    Args:
        output: output of the model for the image.
        name: name of the evaluator, for the message.

    Raises:
        ValueError: the output has no queries, or they are not finite.
    """
    if QUERIES not in output:
        raise ValueError(
            f"{name} measures the queries of a querydet detector, and the model's outputs hold {sorted(output)}: wrap "
            "the detector in querydet.evaluation.WithQueries (train_net.py does so by itself), without test-time "
            "augmentation"
        )
    record = output[QUERIES].cpu()
    if not all(bool(tensor.isfinite().all()) for tensor in (record.start, record.logits, record.boxes)):
        raise ValueError(f"{name}: the queries hold NaN or infinite logits or boxes")
    return record


def check_assigner(assigner: Assigner) -> Assigner:
    """Return an assigner that matches recorded queries.

    Raises:
        ValueError: it compares masks.
    """
    if trait(assigner, "reads_masks"):
        raise ValueError(
            "the matching of training compares masks, which are not recorded: take a detector whose assigner has no "
            "mask_cost, or an evaluator with assigner=null, which compares classes and boxes"
        )
    return assigner


def match_queries(record: QueryRecord, truth: ImageTruth, assigner: Assigner) -> tuple[Tensor, Tensor]:
    """Match the predictions of the last layer with the objects, crowd regions left out.

    Args:
        record: queries of an image.
        truth: its annotations.
        assigner: the bipartite matching of training.

    Returns:
        Matched queries (n,) in ascending order, and their objects (n,), indices into `truth.objects()`.

    Raises:
        ValueError: the assigner compares masks.
    """
    check_assigner(assigner)
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
        step=ObjectCount((len(objects),)),
    )
    (assignment,) = assigner(predictions, targets)
    return assignment.queries, assignment.objects
