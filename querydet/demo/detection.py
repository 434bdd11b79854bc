"""Detection on an uploaded image for the demo page."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.structures import Instances

from querydet.demo.choices import Choice
from querydet.demo.mask_images import mask_image
from querydet.demo.uploads import decode
from querydet.inference.predictor import Predictor
from querydet.utils.instance_masks import has_masks
from querydet.visualization.cropped_masks import cropped_masks
from querydet.visualization.drawing import class_color

LEAST_SCORE = 0.01  # the page's slider hides detections below its threshold; lower scores are not sent


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections on an image."""

    width: int  # pixels, after the EXIF rotation
    height: int
    seconds: float  # time of detection, without loading the model
    # best first: label, score, box [x0, y0, x1, y1] in pixels, color "#rrggbb"; with masks also
    # mask: what `mask_image` returns, None for an empty one
    objects: list[dict[str, Any]]


class NoModelError(ValueError):
    """A request names a model that there is not."""


class Models:
    """The offered models; the one used last stays in memory.

    Args:
        choices: the models to offer.
        overrides: `key=value` changes of their configs.
    """

    def __init__(self, choices: Sequence[Choice], overrides: Sequence[str] = ()) -> None:
        self.choices = list(choices)
        self._overrides = list(overrides)
        self._loaded: tuple[int, Predictor] | None = None
        self._lock = threading.Lock()  # the server has several threads, the model handles one image at a time

    def detect(self, data: bytes, index: int) -> Detections:
        """Detect on an image file.

        Args:
            data: content of the file.
            index: of the model in `choices`.

        Raises:
            BadImageError: the data is no image that can be shown.
            NoModelError: there is no such model.
            ValueError: its checkpoint does not fit.
            FileNotFoundError: the checkpoint or config no longer exists.
        """
        if not 0 <= index < len(self.choices):
            raise NoModelError(f"there is no model {index}: they are 0 to {len(self.choices) - 1}")
        with self._lock:  # decoding takes memory too
            image = decode(data)
            predictor = self._load(index)
            start = time.perf_counter()
            detections = predictor(image)
            seconds = time.perf_counter() - start
            height, width = detections.image_size
            return Detections(width, height, seconds, _objects(detections, predictor.class_names))

    def _load(self, index: int) -> Predictor:
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = None  # free the memory before the next model is loaded
            choice = self.choices[index]
            predictor = Predictor(choice.config, choice.weights, threshold=LEAST_SCORE, overrides=self._overrides)
            _spare_memory(predictor)
            self._loaded = (index, predictor)
        return self._loaded[1]


def _spare_memory(predictor: Predictor) -> None:
    """Let a detector give masks as run lengths, and of no more detections than are sent: bitmaps may be gigabytes."""
    paste = getattr(getattr(predictor.model, "masks", None), "paste", None)
    if paste is not None:
        paste.as_rle, paste.min_score = True, max(paste.min_score, LEAST_SCORE)


def _objects(detections: Instances, class_names: Sequence[str]) -> list[dict[str, Any]]:
    boxes, scores = detections.pred_boxes.tensor.tolist(), detections.scores.tolist()
    colors = [class_color(label) for label in detections.pred_classes.tolist()]
    objects: list[dict[str, Any]] = [
        {
            "label": class_names[label],
            "score": round(score, 4),
            "box": [round(value, 1) for value in box],
            "color": "#" + "".join(f"{round(255 * part):02x}" for part in color),
        }
        for box, score, label, color in zip(boxes, scores, detections.pred_classes.tolist(), colors, strict=True)
    ]
    if has_masks(detections):
        for entry, mask, color in zip(objects, cropped_masks(detections), colors, strict=True):
            entry["mask"] = mask and mask_image(mask, detections.image_size, color)
    return objects
