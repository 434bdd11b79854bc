"""Detection by recorded graphs: what is kept, and that a detector's inference can be recorded at all."""

from unittest import mock

import pytest
import torch
from torch import Tensor

from querydet.inference.cuda_graphs import Detect, GraphedDetection, use_cuda_graphs
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.structures import PredictionSet
from tests.device import OnDevice, Synchronisations, move
from tests.models import COMPOSITIONS, make_inputs, make_predictions, tiny_detector

SMALL, WIDE, TALL = (64, 64), (64, 96), (96, 64)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Rerun:
    """A recording on the CPU: like a graph it has inputs and outputs of its own, which every call overwrites."""

    made = 0

    def __init__(self, function: Detect, *inputs: Tensor) -> None:
        Rerun.made += 1
        self.function = function
        self.inputs = [each.clone() for each in inputs]
        self.output = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> PredictionSet:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        found = self.function(*self.inputs)
        self.output.logits.copy_(found.logits)
        self.output.boxes.copy_(found.boxes)
        return self.output


def batch(size: tuple[int, int], seed: int = 0) -> list[dict]:
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return [{"image": image}]


def scores(detector: QueryDetector, inputs: list[dict]) -> Tensor:
    return detector(inputs)[0]["instances"].scores


@pytest.fixture
def graphed():
    Rerun.made = 0
    plain, detector = tiny_detector().eval(), tiny_detector().eval()
    detector.detect = GraphedDetection(detector.detect, max_graphs=2, record=Rerun)
    return plain, detector


@torch.no_grad()
def test_detections_are_those_without_graphs_and_stay_what_they_are(graphed) -> None:
    plain, detector = graphed
    kept = []
    for seed in range(3):
        for size in (SMALL, WIDE):
            images = detector.preprocess(batch(size, seed))
            kept.append(
                (detector.detect(images.tensor, padding_mask(images)), plain(batch(size, seed))[0]["instances"])
            )
            assert torch.equal(scores(detector, batch(size, seed)), kept[-1][1].scores)
    assert Rerun.made == 2
    for predictions, wanted in kept:
        (found,) = detector.postprocess(predictions.logits, predictions.boxes, [wanted.image_size])
        assert torch.equal(found.scores, wanted.scores)
        assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor)


@torch.no_grad()
def test_the_size_that_was_not_used_for_longest_goes(graphed) -> None:
    _, detector = graphed
    for size, recordings in ((SMALL, 1), (WIDE, 2), (SMALL, 2), (TALL, 3), (SMALL, 3), (WIDE, 4)):
        detector(batch(size))
        assert Rerun.made == recordings
    assert len(detector.detect.recordings) == 2


def test_precision_is_part_of_what_is_recorded_and_gradients_need_no_graph(graphed) -> None:
    _, detector = graphed
    detector(batch(SMALL))
    assert Rerun.made == 0
    with torch.no_grad():
        for _ in range(2):
            detector(batch(SMALL))
            with torch.autocast("cpu", torch.bfloat16):
                detector(batch(SMALL))
    assert Rerun.made == 2


def test_inference_mode_comes_and_goes(graphed) -> None:
    plain, detector = graphed
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(scores(detector, batch(SMALL)), scores(plain, batch(SMALL)))


@torch.no_grad()
def test_weights_may_change_in_place(graphed) -> None:
    plain, detector = graphed
    detector(batch(SMALL))
    for model in (plain, detector):
        model.heads.class_heads[-1].bias.add_(1)
    assert torch.equal(scores(detector, batch(SMALL)), scores(plain, batch(SMALL)))


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_nothing_crosses_between_host_and_device_while_it_detects(name: str) -> None:
    detector = tiny_detector(name).eval()
    batch = detector.preprocess(make_inputs([WIDE, SMALL]))
    images, padding = OnDevice(batch.tensor), OnDevice(padding_mask(batch))
    move(detector)
    with torch.no_grad(), Synchronisations() as waiting:
        detector.detect(images, padding)
    assert (waiting.kinds, waiting.sent) == ({}, 0), waiting.found


def test_tensors_are_made_on_the_device_of_the_images_while_a_size_is_recorded() -> None:
    """A graph takes nothing from the host, and some of Detectron2's backbones name no device."""
    predictions = make_predictions(1, 2)
    places = []

    def record(function: Detect, *inputs: Tensor) -> mock.Mock:
        places.append(torch.arange(2).device.type)
        return mock.Mock(return_value=predictions)

    images, padding = torch.empty(1, 3, 4, 4), torch.empty(1, 4, 4)
    with torch.no_grad(), torch.device("meta"):
        GraphedDetection(mock.Mock(), record=record)(images, padding)
    assert places == ["cpu"]


def test_bad_use() -> None:
    with pytest.raises(ValueError, match="max_graphs must be at least 1, found 0"):
        GraphedDetection(mock.Mock(), max_graphs=0)
    with pytest.raises(ValueError, match="need a detector on a CUDA device, and this one is on cpu"):
        use_cuda_graphs(tiny_detector())


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("name", COMPOSITIONS)
@torch.no_grad()
def test_replayed_on_a_gpu(name: str) -> None:
    plain, detector = tiny_detector(name).eval().cuda(), tiny_detector(name).eval().cuda()
    use_cuda_graphs(detector)
    for seed in range(3):
        inputs = batch(WIDE, seed)
        torch.testing.assert_close(scores(detector, inputs), scores(plain, inputs), atol=1e-4, rtol=1e-4)
