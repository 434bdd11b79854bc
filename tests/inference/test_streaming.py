"""A stream of images is predicted as one by one, whatever else happens meanwhile."""

import io
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from PIL import Image

from querydet.evaluation import ArrayPredictor
from querydet.inference.pictures import read_picture
from querydet.inference.streaming import Prediction, predict_stream

BAD = 13  # the value of all pixels of an image that the model refuses


class MeanModel(torch.nn.Module):
    """Finds one object whose box has the image's mean in it, and refuses some images."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[tuple[int, ...]]] = []
        self.threads: set[int] = set()

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.batches.append([tuple(inputs["image"].shape[-2:]) for inputs in batch])
        self.threads.add(threading.get_ident())
        if any(bool((inputs["image"] == BAD).all()) for inputs in batch):
            raise FloatingPointError("the predictions are not finite")
        outputs = []
        for inputs in batch:
            mean = inputs["image"].double().mean().float()
            instances = Instances((inputs["height"], inputs["width"]))
            instances.pred_boxes = Boxes(torch.stack([mean * 0, mean * 0, mean + 1, mean + 2])[None])
            instances.scores = torch.tensor([0.5])
            instances.pred_classes = torch.tensor([0])
            outputs.append({"instances": instances})
        return outputs


class Random(T.Augmentation):
    """Adds a random number to an image."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return T.BlendTransform(np.full_like(image, np.random.randint(200)), 0.5, 0.5)  # noqa: NPY002


def picture(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def refused() -> np.ndarray:
    return np.full((12, 16, 3), BAD, np.uint8)


def stream(images: Any, batch_size: int = 1, augmentations: Any = ()) -> tuple[list[Prediction[Any]], MeanModel]:
    model = MeanModel()
    predictor = ArrayPredictor(model=model, augmentations=augmentations)
    return list(predict_stream(predictor, read_picture, images, batch_size)), model


def boxes(predictions: list[Prediction[Any]]) -> list[list[float]]:
    return [prediction.detections().pred_boxes.tensor[0].tolist() for prediction in predictions]


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Files of different sizes, some of which take longer to read than others."""
    names = [str(tmp_path / f"{index}.png") for index in range(24)]
    for index, name in enumerate(names):
        height = 400 if index % 5 == 0 else 12
        Image.fromarray(picture(index, height, 16 if index % 3 else 20)).save(name)
    return names


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_is_one_by_one(paths: list[str], batch_size: int) -> None:
    predictor = ArrayPredictor(model=MeanModel(), augmentations=())
    expected = [predictor(read_picture(path)) for path in paths]
    found, model = stream(paths, batch_size)
    assert [prediction.source for prediction in found] == paths
    assert boxes(found) == [instances.pred_boxes.tensor[0].tolist() for instances in expected]
    assert [prediction.detections().image_size for prediction in found] == [one.image_size for one in expected]
    assert all(np.array_equal(prediction.pixels, read_picture(prediction.source)) for prediction in found)
    assert model.threads == {threading.get_ident()}
    assert all(len({height for height, _ in batch}) == 1 and len(batch) <= batch_size for batch in model.batches)
    assert max(map(len, model.batches)) == batch_size


def test_random_augmentations_draw_in_the_order_of_the_images(paths: list[str]) -> None:
    np.random.seed(3)  # noqa: NPY002
    predictor = ArrayPredictor(model=MeanModel(), augmentations=[Random()])
    expected = [predictor(read_picture(path)).pred_boxes.tensor[0].tolist() for path in paths]
    np.random.seed(3)  # noqa: NPY002
    assert boxes(stream(paths, augmentations=[Random()])[0]) == expected


@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_cannot_be_used_is_named_and_the_others_are_predicted(
    paths: list[str], tmp_path: Path, batch_size: int
) -> None:
    (tmp_path / "text.png").write_text("no image")
    images = [*paths[:3], str(tmp_path / "text.png"), refused(), "nowhere.png", paths[4], 7, refused(), *paths[5:9]]
    found, _ = stream(images, batch_size)
    errors = {index: prediction.error for index, prediction in enumerate(found) if prediction.error is not None}
    assert {index: type(error) for index, error in errors.items()} == {
        3: ValueError, 4: FloatingPointError, 5: FileNotFoundError, 7: TypeError, 8: FloatingPointError
    }  # fmt: skip
    assert "text.png cannot be read" in str(errors[3])
    assert all(prediction.instances is None for prediction in found if prediction.error)
    assert boxes([prediction for prediction in found if not prediction.error]) == boxes(
        stream([*paths[:3], paths[4], *paths[5:9]])[0]
    )
    with pytest.raises(FloatingPointError, match="not finite"):
        found[4].detections()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_few_images_are_in_memory_however_many_there_are(batch_size: int) -> None:
    taken = used = most = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal taken, most
        for number in range(300):
            taken += 1
            most = max(most, taken - used)
            yield picture(number, 4 + 4 * (number % 2), 8)

    for _ in predict_stream(ArrayPredictor(model=MeanModel(), augmentations=()), read_picture, images(), batch_size):
        used += 1
    assert used == 300
    assert most <= (5 if batch_size == 1 else 8 * batch_size)


def test_files_are_read_while_the_model_runs(paths: list[str]) -> None:
    meeting = threading.Barrier(2, timeout=10)
    reads = itertools.count()

    def read(path: str) -> np.ndarray:
        if next(reads) == 2:  # the third image, while the model has the first one
            meeting.wait()
        return read_picture(path)

    class Waiting(MeanModel):
        def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
            if not self.batches:
                meeting.wait()
            return super().forward(batch)

    predictor = ArrayPredictor(model=Waiting(), augmentations=())
    assert len(list(predict_stream(predictor, read, paths, 1))) == len(paths)


def test_an_image_that_its_owner_changes_or_closes_afterwards_is_the_one_that_was_given(tmp_path: Path) -> None:
    def reused() -> Iterator[Any]:
        buffer = np.zeros((12, 16, 3), np.uint8)
        for number in range(6):
            buffer[:] = picture(number)
            yield buffer
            buffer[:] = 0
        for number in range(6, 9):
            Image.fromarray(picture(number)).save(tmp_path / "a.png")
            with open(tmp_path / "a.png", "rb") as file:
                yield file
        content = io.BytesIO()
        Image.fromarray(picture(9)).save(content, "PNG")
        array = bytearray(content.getvalue())
        yield array
        array[:] = bytes(len(array))

    assert boxes(stream(reused())[0]) == boxes(stream([picture(number) for number in range(10)])[0])


def test_an_interruption_of_the_model_ends_the_threads(paths: list[str]) -> None:
    class Interrupted(MeanModel):
        def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().forward(batch)

    before = threading.active_count()
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(
            predict_stream(ArrayPredictor(model=Interrupted(), augmentations=()), read_picture, iter(paths), 1)
        )
    assert len(found) == 2
    assert threading.active_count() == before


def test_a_failure_of_the_source_comes_after_the_predictions(paths: list[str]) -> None:
    def source() -> Iterator[str]:
        yield from paths[:5]
        raise OSError("the folder is gone")

    found: list[Prediction[str]] = []
    predictor = ArrayPredictor(model=MeanModel(), augmentations=())
    with pytest.raises(OSError, match="the folder is gone"):
        found.extend(predict_stream(predictor, read_picture, source(), 2))
    assert len(boxes(found)) == 5


def test_a_device_that_computes_nothing_any_more_ends_the_stream(paths: list[str]) -> None:
    class Broken(MeanModel):
        def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
            raise torch.AcceleratorError("an illegal memory access")

    with pytest.raises(torch.AcceleratorError):
        list(predict_stream(ArrayPredictor(model=Broken(), augmentations=()), read_picture, paths, 1))
