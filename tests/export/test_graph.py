"""The traced part of a detector is the detector."""

import pytest
import torch

from querydet.export.checking import count_unmatched, measure
from querydet.export.detections import fixed_size_detections
from querydet.export.graph import DetectionGraph, pad_images
from querydet.export.operators import DEFINITIONS, PortableOperators, define_suppress
from querydet.export.running import ExportedDetector
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from querydet.modeling.selection import NMSSelection
from querydet.ops.suppression import suppress
from tests.export.detectors import noise, small_detector
from tests.models import make_predictions
from tests.ops.test_suppression import boxes_and_scores

SIZES = [(150, 203), (180, 131)]


@pytest.mark.parametrize(("name", "keep"), [("dino", ()), ("deta", ()), ("deta", tuple(DEFINITIONS))])
def test_in_the_place_of_a_detector_it_detects_the_same(name: str, keep: tuple) -> None:
    detector = small_detector(name)
    inputs = [{"image": image, "height": 300, "width": 400} for image in noise(SIZES)]
    exported = ExportedDetector(DetectionGraph(detector, keep), (1, 1))
    with torch.no_grad():
        for wanted, found in zip(detector(inputs), exported(inputs), strict=True):
            assert len(wanted["instances"]) > 5
            assert torch.equal(found["instances"].pred_classes, wanted["instances"].pred_classes)
            assert torch.allclose(found["instances"].scores, wanted["instances"].scores, atol=1e-5)
            boxes, others = (each["instances"].pred_boxes.tensor for each in (found, wanted))
            assert torch.allclose(boxes, others, atol=1e-2)


def test_what_lies_outside_of_an_image_does_not_matter() -> None:
    graph = DetectionGraph(small_detector("dino"))
    images, sizes = pad_images(noise(SIZES))
    with torch.no_grad():
        wanted = graph(images, sizes)
        images[0, :, 150:] = 99.0
        images[1, :, :, 131:] = 255.0
        found = graph(images, sizes)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("seed", range(3))
def test_the_definition_of_suppression_is_the_operator(seed: int) -> None:
    boxes, scores = boxes_and_scores(seed)
    scores[1, 2] = -torch.inf
    assert torch.equal(define_suppress(boxes, scores, 0.4), suppress(boxes, scores, 0.4))


def test_operators_are_replaced_within_the_context_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores = boxes_and_scores(0)
    operator, calls = torch.ops.querydet.suppress, []
    context = PortableOperators()
    monkeypatch.setitem(context.definitions, operator, lambda *given: calls.append(given) or define_suppress(*given))
    with context:
        operator(boxes, scores, 0.4)
    operator(boxes, scores, 0.4)
    assert len(calls) == 1
    assert operator not in PortableOperators(keep=[operator]).definitions


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_tensors_of_a_fixed_size_hold_the_same_detections(seed: int, clip: bool) -> None:
    predictions = make_predictions(2, 40, seed=seed)
    predictions.boxes[0, :10] += torch.tensor([2.0, 0, 0, 0])  # outside of the image
    for postprocess in (
        TopKPostprocess(num_detections=60, clip=clip),
        NMSPostprocess(num_detections=30, iou_threshold=0.4, max_candidates=90, clip=clip),
        NMSPostprocess(num_detections=300, iou_threshold=0.01, clip=clip),
    ):
        wanted = postprocess(predictions.logits, predictions.boxes, [(1, 1)] * 2)
        boxes, scores, labels = fixed_size_detections(postprocess, predictions.logits, predictions.boxes)
        for image, instances in enumerate(wanted):
            count = len(instances)
            assert torch.equal(labels[image, :count], instances.pred_classes)
            assert torch.allclose(scores[image, :count], instances.scores)
            assert torch.allclose(boxes[image, :count], instances.pred_boxes.tensor, atol=1e-6)
            assert (labels[image, count:] == -1).all()
            assert (scores[image, count:] == 0).all()


def test_a_postprocess_of_ones_own_needs_a_form_for_export() -> None:
    with pytest.raises(TypeError, match="object has no form with results of a fixed size"):
        fixed_size_detections(object(), torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))


def test_differences_are_found() -> None:
    """The check of an export can fail."""
    detector = small_detector("dino")
    graph = DetectionGraph(detector)

    def wrong(images: torch.Tensor, sizes: torch.Tensor) -> dict[str, torch.Tensor]:
        return graph(images, torch.full_like(sizes, images.shape[-1]))  # takes padding for image

    assert measure(detector, graph, noise(SIZES), 1e-3).within(1e-3)
    assert not measure(detector, wrong, noise(SIZES), 1e-3).within(1e-3)
    detections = {
        "boxes": torch.rand(1, 4, 4),
        "scores": torch.tensor([[0.9, 0.5, 0.4, 0.0]]),
        "labels": torch.tensor([[0, 1, 2, -1]]),
    }
    swapped = {name: values[:, [1, 0, 2, 3]] for name, values in detections.items()}
    assert count_unmatched(detections, swapped, 1e-3) == 0
    relabelled = {**detections, "labels": torch.tensor([[0, 3, 2, -1]])}
    moved = {**detections, "boxes": detections["boxes"] + torch.tensor([[[0.01], [0], [0], [0]]])}
    assert count_unmatched(detections, relabelled, 1e-3) == count_unmatched(detections, moved, 1e-3) == 1


@pytest.mark.parametrize(("name", "count", "passes"), [("dino", 2, True), ("dino", 4, False), ("dn_detr", 2, False)])
def test_a_pair_of_swapped_ranks_is_left_out_and_no_more(name: str, count: int, passes: bool) -> None:
    detector = small_detector(name)
    graph = DetectionGraph(detector)

    def swapping(images: torch.Tensor, sizes: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = graph(images, sizes)
        outputs["logits"][0, :count] += 0.5
        return outputs

    with torch.no_grad():
        found = measure(detector, swapping, noise(SIZES), 1e-3)
    assert found.within(1e-3) == passes
    assert found.swapped == (2 if passes else 0)


def test_suppression_has_something_to_do() -> None:
    """Or the comparisons above would prove little."""
    detector = small_detector("deta")
    selection, postprocess = detector.selection, detector.postprocess
    assert isinstance(selection, NMSSelection)
    assert isinstance(postprocess, NMSPostprocess)
    inputs = pad_images(noise(SIZES))
    graph = DetectionGraph(detector)
    with torch.no_grad():
        suppressed = graph(*inputs)
        selection.iou_threshold = 1.0
        all_proposals = graph(*inputs)
        postprocess.iou_threshold = 1.0
        everything = graph(*inputs)
    assert not torch.equal(all_proposals["query_boxes"], suppressed["query_boxes"])
    assert 5 < (all_proposals["labels"] >= 0).sum() < (everything["labels"] >= 0).sum()
