"""What the page asks for: the detections of an uploaded image."""

import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, UnidentifiedImageError

from querydet.demo.choices import Choice
from querydet.inference.predictor import Predictor
from querydet.visualization.drawing import class_color

LEAST_SCORE = 0.01  # the page's slider hides what is below its threshold; nobody looks for less than this


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found on an image."""

    width: int  # pixels, turned as its camera says
    height: int
    seconds: float  # without loading the model
    objects: list[dict[str, Any]]  # label, score, box [x0, y0, x1, y1] in pixels, color "#rrggbb"; best first


class Models:
    """The models that are offered; the one used last stays loaded.

    Args:
        choices: what is offered.
        overrides: changes of their configs, ``key=value``.
    """

    def __init__(self, choices: Sequence[Choice], overrides: Sequence[str] = ()) -> None:
        self.choices = list(choices)
        self._overrides = list(overrides)
        self._loaded: tuple[int, Predictor] | None = None
        self._lock = threading.Lock()  # a server has threads, a model computes one image after the other

    def detect(self, data: bytes, index: int) -> Detections:
        """Detects on an image file.

        Args:
            data: its content.
            index: of the choice.

        Raises:
            ValueError: this is no image, there is no such choice, or its checkpoint does not fit.
            FileNotFoundError: the choice's checkpoint or config is gone.
        """
        image = decode(data)
        if not 0 <= index < len(self.choices):
            raise ValueError(f"there is no model {index}: they are 0 to {len(self.choices) - 1}")
        with self._lock:
            predictor = self._load(index)
            start = time.perf_counter()
            found = predictor(image)
            seconds = time.perf_counter() - start
        height, width = found.image_size
        objects = [
            {
                "label": predictor.class_names[label],
                "score": round(score, 4),
                "box": [round(value, 1) for value in box],
                "color": "#" + "".join(f"{round(255 * part):02x}" for part in class_color(label)),
            }
            for box, score, label in zip(
                found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist(), strict=True
            )
        ]
        return Detections(width, height, seconds, objects)

    def _load(self, index: int) -> Predictor:
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = None  # before the next one needs the memory
            choice = self.choices[index]
            predictor = Predictor(choice.config, choice.weights, threshold=LEAST_SCORE, overrides=self._overrides)
            self._loaded = (index, predictor)
        return self._loaded[1]


def decode(data: bytes) -> Image.Image:
    """An image from the content of a file.

    Raises:
        ValueError: it is none, is damaged, or has too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError as error:
        raise ValueError("this file is no image, or of a kind that Pillow does not read") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"this file cannot be read as an image: {error}") from error
    return image
