"""Detection from a config and a checkpoint: `DefaultPredictor` of Detectron2 for LazyConfig.

Example::

    predictor = Predictor("projects/dino/configs/dino_r50_4scale_12ep.py", "model_final.pth")
    instances = predictor("street.jpg")  # Detectron2's Instances: pred_boxes, scores, pred_classes, pred_masks
    several = predictor(["street.jpg", array, pil_image])  # a list of Instances
    for prediction in predictor.stream(paths):  # any number of images, read while the model runs
        print(prediction.source, prediction.error or len(prediction.instances))
"""

import contextlib
import importlib
import logging
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

import numpy as np
from detectron2.structures import Instances
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

from querydet.checkpoint.regular import check_exists
from querydet.config import apply_overrides, load_config
from querydet.data.catalog import DetectionDataset, class_names
from querydet.data.existing_data import existing_data_only
from querydet.data.media import read_record, reader_of
from querydet.data.validation_set import load_test_data, why_no_test_data
from querydet.evaluation.coco_truth import category_ids
from querydet.evaluation.prediction import ArrayPredictor, check_threshold
from querydet.inference.class_names import find_class_names
from querydet.inference.pictures import Picture, is_one_picture, read_picture
from querydet.inference.streaming import Prediction, predict_stream
from querydet.utils.allocator import keep_freed_memory_on
from querydet.utils.device import resolve_device
from querydet.utils.lazy import instantiate

logger = logging.getLogger(__name__)

Source = TypeVar("Source")


class Predictor(ArrayPredictor):
    """Detects objects on images of any kind and size.

    Args:
        config: a complete config, the path of one, the name of a shipped one (`querydet.config.find_config`), or a
            name of the model zoo.
        weights: path or URL of a checkpoint, or a file of `querydet quantize`, whose precision it keeps; None for the
            checkpoint that the model zoo has for `config`.
        threshold: detections with a lower score, in [0, 1], are dropped.
        class_names: by class index; None: those in the checkpoint, else those of the config's test data, else
            "class 0", "class 1" ...
        batch_size: number of images of a forward pass, which are of like sizes. With 1, the detections on an image
            depend on no other image.
        device: "cpu", "cuda" ...; None: the config's `train.device`.
        precision: "float32", "bfloat16", or "auto": bfloat16 where this machine computes faster in it.
        cuda_graphs: replay a recorded graph for input sizes that were seen before; for a GPU and images of few sizes.
        overrides: `key=value` changes of the config.

    Attributes:
        model: the detector, in evaluation mode; another one of the same classes may take its place. What detects is its
            form for inference (`querydet.fusion`), which is made at the first image and when weights have changed.
        threshold: see above; may be changed.
        batch_size: see above; may be changed.
        class_names: by class index.
        reader: reads images as the config's test mapper does.

    Raises:
        FileNotFoundError: the config or checkpoint does not exist.
        KeyError: the model zoo has no entry of this name.
        ValueError: the checkpoint does not fit the config, class names do not fit the model, a number is out of its
            range, or CUDA graphs are requested on a device without CUDA.
    """

    def __init__(
        self,
        config: str | os.PathLike | DictConfig,
        weights: str | os.PathLike | None = None,
        *,
        threshold: float = 0.3,
        class_names: Sequence[str] | None = None,
        batch_size: int = 1,
        device: str | None = None,
        precision: str = "float32",
        cuda_graphs: bool = False,
        overrides: Sequence[str] = (),
    ) -> None:
        # These load the parts of detectors, which a program that only imports this class does not need yet.
        from querydet.fusion import InferenceForm
        from querydet.quantization import load_detector

        self.batch_size = batch_size
        self._form = InferenceForm(precision)
        cfg, path = find_model(config, weights, overrides)
        check_exists(path)
        _need_mapper(cfg)
        chosen = resolve_device(device or cfg.train.device)
        keep_freed_memory_on(chosen)
        built = instantiate(cfg.model).to(chosen).eval()
        model, trained = load_detector(built, path, use_ema=cfg.train.ema.enabled)
        if cuda_graphs:
            from querydet.inference.cuda_graphs import use_cuda_graphs  # with the parts of detectors

            use_cuda_graphs(model)
        mapper = cfg.dataloader.test.mapper
        super().__init__(
            model=model,
            augmentations=instantiate(mapper.augmentations),
            image_format=mapper.get("image_format", "RGB"),
            threshold=threshold,
        )
        self.class_names = find_class_names(cfg, class_names, trained)
        self.reader = reader_of(mapper)
        self._cfg = cfg

    @property
    def model(self) -> Any:
        """The detector."""
        return self._model

    @model.setter
    def model(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"the model must be a torch module, got {type(model).__name__}")
        count = getattr(model, "num_classes", None)
        if isinstance(count, int) and count != len(self.class_names):
            raise ValueError(
                f"the model has {count} classes, the predictor has {len(self.class_names)} names of classes: build a "
                "Predictor from the config and the weights of the other model"
            )
        self._model = model.eval()

    def _running_model(self) -> nn.Module:
        return self._form.of(self.model)

    @property
    def threshold(self) -> float:
        """Detections with a lower score are dropped."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self._threshold = check_threshold(threshold)

    @property
    def batch_size(self) -> int:
        """Number of images of a forward pass."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self._batch_size = batch_size

    @cached_property
    def category_ids(self) -> list[int]:
        """Return the ids of the classes in the json of the config's test data; 1, 2, 3 ... without that data."""
        dataset = None
        if not why_no_test_data(self._cfg):
            with contextlib.suppress(FileNotFoundError), existing_data_only():
                dataset = self.load_test_data()
        if dataset is None or class_names(dataset) != self.class_names:
            return list(range(1, len(self.class_names) + 1))
        return category_ids(dataset)

    def load_test_data(self) -> DetectionDataset:
        """Load the test data of the config, with the classes of the model if it has no others.

        Raises:
            FileNotFoundError: the data are not on this machine.
            ValueError: there are none, or they cannot be used.
        """
        dataset = load_test_data(self._cfg)
        names = class_names(dataset)
        if names != self.class_names and set(names) <= set(self.class_names):
            return load_test_data(self._cfg, self.class_names)
        return dataset

    def read(self, image: Any) -> np.ndarray:
        """Read an image of any kind as `__call__` does: see `read_picture`."""
        return read_picture(image, self.reader)

    def read_record(self, record: Mapping[str, Any]) -> np.ndarray:
        """Read the image of a Detectron2 dataset dict as the evaluation does, (H, W, 3), RGB, uint8."""
        return read_record(record, self)

    @overload
    def __call__(self, images: Picture) -> Instances: ...
    @overload
    def __call__(self, images: Iterable[Picture]) -> list[Instances]: ...
    def __call__(self, images: Picture | Iterable[Picture]) -> Instances | list[Instances]:
        """Detect objects.

        Args:
            images: one image, or several of any sizes: a path, an open binary file, the content of a file as bytes, a
                PIL image, or an array, (H, W, 3) RGB or (H, W) grey, uint8. An array (n, H, W, 3) is n images.

        Returns:
            For one image, Detectron2's `Instances`: `pred_boxes` (XYXY, pixels of the image), `scores` and
            `pred_classes`, best first, on the CPU; of a detector with masks also `pred_masks`, (n, H, W) bool in pixels
            of the image, or `pred_masks_rle` where its config says so (`querydet.utils.instance_masks` reads both). For
            several images, a list of them.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file is no image, or an array has another shape or dtype.
            TypeError: an image is of another type.
        """
        if is_one_picture(images):
            return self.detect([self.read(images)])[0]
        several: Iterable[Any] = images  # type: ignore[assignment]
        return [prediction.detections() for prediction in self.stream(several)]

    def stream(self, images: Iterable[Source]) -> Generator[Prediction[Source], None, None]:
        """Detect on any number of images, with a few of them in memory: while the model runs, others are read.

        An image that cannot be used is a prediction with an `error`, and the others are predicted. With a `batch_size`
        above 1, images of like sizes are batched.

        Args:
            images: paths, files, arrays ... as of `__call__`, in an iterable of any length.

        Returns:
            An iterator over the predictions of the images, in their order.

        Raises:
            TypeError: `images` is no iterable of images.
        """
        if is_one_picture(images) or not isinstance(images, Iterable) or isinstance(images, Mapping):
            raise TypeError(
                f"images must be a path, a file, bytes, a PIL image, an array, or several of them; got {type(images)}"
            )
        return predict_stream(self, self.read, images, self.batch_size)

    def draw(self, image: Picture, instances: Instances) -> Image.Image:
        """Draw detections on an image: boxes, masks, class names and scores; a small image is enlarged.

        Args:
            image: one image, as of `__call__`.
            instances: its detections.
        """
        from querydet.visualization.drawing import draw_instances  # with Matplotlib, which detection does not need

        return Image.fromarray(draw_instances(self.read(image), instances, self.class_names))


def _need_mapper(cfg: DictConfig) -> None:
    """Check that a config says how images are resized.

    Raises:
        ValueError: it does not.
    """
    if OmegaConf.select(cfg, "dataloader.test.mapper") is None:
        raise ValueError(
            "the config has no dataloader.test.mapper, which says how images are resized: use the config without "
            "dataloader.test=null (dataloader.evaluator=null and dataloader.test.dataset=null keep the mapper)"
        )


def find_model(
    config: str | os.PathLike | DictConfig, weights: str | os.PathLike | None, overrides: Sequence[str] = ()
) -> tuple[DictConfig, str]:
    """Return the complete config of a model and the path of its weights; both may come from the model zoo.

    Args:
        config: see `Predictor`.
        weights: see `Predictor`.
        overrides: `key=value` changes of the config.

    Raises:
        FileNotFoundError: the config does not exist.
        KeyError: the model zoo has no entry of this name.
        ValueError: `config` is a `DictConfig` and `weights` is None.
    """
    if isinstance(config, DictConfig):
        if weights is None:
            raise ValueError("a config alone does not say which weights: give a checkpoint")
        return apply_overrides(config.copy(), overrides), os.fspath(weights)
    name = os.fspath(config)
    if weights is not None and os.path.splitext(name)[1]:
        return load_config(name, overrides), os.fspath(weights)
    zoo = importlib.import_module("querydet.model_zoo")  # imported late: only needed for names of the zoo
    cfg = apply_overrides(zoo.get_config(name, trained=weights is None), overrides)
    return cfg, cfg.train.init_checkpoint if weights is None else os.fspath(weights)
