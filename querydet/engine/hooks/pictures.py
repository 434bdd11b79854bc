"""Pictures during training: the model's input and its predictions, in a folder of the run and in TensorBoard.

``train.pictures`` in the config. Each time, with the weights that count:

====================  ==========================================================================================
``train_batch``       images of the current step after augmentation, with their objects
``denoising``         denoising queries of one of them, positive and negative, where the model has such queries
``predictions``       ground truth beside predictions, always on the same test images
``references``        boxes of the best queries from layer to layer on the first of these, for querydet's detectors
====================  ==========================================================================================
"""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from PIL import Image

from querydet.data.catalog import class_names
from querydet.engine.distributed.sharding import collected_parameters
from querydet.engine.run.run_parts import RunParts
from querydet.modeling.detector import QueryDetector
from querydet.utils.lazy import instantiate
from querydet.visualization import batch_panels, prediction_panels, reference_panels, render_grid
from querydet.visualization.denoising_pictures import LEGEND, denoising_panels
from querydet.visualization.grids import Panel

FOLDER = "pictures"  # in the output folder
QUERIES = 4  # whose way is drawn

logger = logging.getLogger(__name__)


class PictureHook(HookBase):
    """Draws periodically and after the last iteration; a picture that fails is reported, and training goes on.

    All processes have the hook, the first one draws: the parameters of a sharded model are collected for it.

    Args:
        parts: the run; of a model with a moving average, predictions are the average's.
        period: in iterations, 0 for after the last one only.

    Raises:
        ValueError: a number of images or a threshold out of its range.
    """

    def __init__(self, parts: RunParts, period: int) -> None:
        cfg, test = parts.cfg, parts.test
        options = cfg.train.pictures
        count = options.num_images
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"train.pictures.num_images has to be an integer of at least 1, got {count!r}")
        if not 0 <= options.threshold <= 1:
            raise ValueError(f"train.pictures.threshold has to be in [0, 1], got {options.threshold!r}")
        self._model, self._raw = parts.evaluated_model, parts.model
        self._period = period
        self._count, self._threshold = count, options.threshold
        self._folder = os.path.join(cfg.train.output_dir, FOLDER)
        self._channels = cfg.dataloader.train.get("mapper", {}).get("image_format", "RGB")
        self._mapper: Any = instantiate(cfg.dataloader.test.mapper) if test else None
        self._test: Any = test.loader.dataset if test else None

    def after_step(self) -> None:
        """Draw when it is time."""
        done = self.trainer.iter + 1
        if done != self.trainer.max_iter and not (self._period and done % self._period == 0):
            return
        with collected_parameters(self._raw, self._model):
            if comm.is_main_process():
                self._draw()

    def _draw(self) -> None:
        batch = list(self.trainer.batch)[: self._count]
        names = class_names(self.trainer.data_loader.dataset)
        self._show("train_batch", lambda: (batch_panels(batch, names, self._channels), None))
        model, raw = self._model, self._raw
        if isinstance(raw, QueryDetector) and raw.denoising is not None:
            self._show("denoising", lambda: (denoising_panels(raw, batch[:1], names, self._channels), LEGEND))
        if self._test is None:
            return
        count = min(self._count, len(self._test))
        records = [self._test.record(index * len(self._test) // count) for index in range(count)]
        self._show(
            "predictions", lambda: (prediction_panels(model, records, names, self._mapper, self._threshold), None)
        )
        if isinstance(model, QueryDetector):
            self._show("references", lambda: reference_panels(model, records[0], self._mapper, names, QUERIES))

    def _show(self, name: str, make: Callable[[], tuple[list[Panel], Mapping[str, Any] | None]]) -> None:
        try:
            panels, legend = make()
            picture = render_grid(panels, legend=legend)
            self.trainer.storage.put_image(f"pictures/{name}", picture.transpose(2, 0, 1))
            os.makedirs(self._folder, exist_ok=True)
            Image.fromarray(picture).save(os.path.join(self._folder, f"{name}_{self.trainer.iter + 1:07d}.png"))
        except Exception as error:  # an image that is gone, NaN in predictions, a full disk
            message = "Iteration %d: no picture of %s, training goes on: %s"
            logger.error(message, self.trainer.iter, name, error)
