"""Detection from a config and a checkpoint: `DefaultPredictor` of Detectron2 for LazyConfig.

Example::

    predictor = Predictor("projects/dino/configs/dino_r50_4scale_12ep.py", "model_final.pth")
    instances = predictor("street.jpg")  # Detectron2's Instances: pred_boxes, scores, pred_classes
    several = predictor(["street.jpg", array, pil_image])  # a list of Instances
"""

import importlib
import logging
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from detectron2.structures import Instances
from omegaconf import DictConfig
from PIL import Image, ImageOps

from querydet.checkpoint import check_exists, load_weights
from querydet.config import apply_overrides, load_config
from querydet.data.catalog import DetectionDataset, check_num_classes, class_names
from querydet.engine.run.setup import resolve_device
from querydet.evaluation import ArrayPredictor, category_ids
from querydet.inference.cuda_graphs import use_cuda_graphs
from querydet.utils.image_formats import FORMATS
from querydet.utils.lazy import instantiate
from querydet.visualization import draw_instances

logger = logging.getLogger(__name__)

Picture = np.ndarray | Image.Image | str | os.PathLike


class Predictor(ArrayPredictor):
    """Detects objects on images of any kind and size.

    Args:
        config: a complete config, the path of one, the name of a shipped one (`querydet.config.find_config`), or a
            name of the model zoo.
        weights: path or URL of a checkpoint; None for the one that the model zoo has for `config`.
        threshold: detections with a lower score, in [0, 1], are dropped.
        class_names: by class index; None: those in the checkpoint, else those of the config's test data, else
            "class 0", "class 1" ...
        batch_size: number of images of a forward pass. With 1, the detections on an image depend on no other image.
        device: "cpu", "cuda" ...; None: the config's `train.device`.
        cuda_graphs: replay a recorded graph for input sizes that were seen before; for a GPU and images of few sizes.
        overrides: `key=value` changes of the config.

    Attributes:
        model: the detector, in evaluation mode.
        class_names: by class index.

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
        cuda_graphs: bool = False,
        overrides: Sequence[str] = (),
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        cfg, path = find_model(config, weights, overrides)
        check_exists(path)
        model = instantiate(cfg.model).to(resolve_device(device or cfg.train.device)).eval()
        trained = load_weights(model, path, use_ema=cfg.train.ema.enabled)
        if cuda_graphs:
            use_cuda_graphs(model)
        mapper = cfg.dataloader.test.mapper
        super().__init__(
            model=model,
            augmentations=instantiate(mapper.augmentations),
            image_format=mapper.get("image_format", "RGB"),
            threshold=threshold,
        )
        self.model = model
        self.batch_size = batch_size
        self.class_names = find_class_names(cfg, class_names, trained)
        self._test_data = cfg.dataloader.test.dataset

    @cached_property
    def category_ids(self) -> list[int]:
        """Return the ids of the classes in the json of the config's test data; 1, 2, 3 ... without that data."""
        try:
            dataset = self.load_test_data()
        except FileNotFoundError:
            dataset = None
        if dataset is None or class_names(dataset) != self.class_names:
            return list(range(1, len(self.class_names) + 1))
        return category_ids(dataset)

    def load_test_data(self) -> DetectionDataset:
        """Load the test data of the config.

        Raises:
            FileNotFoundError: the data are not on this machine.
            ValueError: the data cannot be used.
        """
        return instantiate(self._test_data)

    @overload
    def __call__(self, images: Picture) -> Instances: ...
    @overload
    def __call__(self, images: Iterable[Picture]) -> list[Instances]: ...
    def __call__(self, images: Picture | Iterable[Picture]) -> Instances | list[Instances]:
        """Detect objects.

        Args:
            images: one image, or several of any sizes: a path, a PIL image, or an array, (H, W, 3) RGB or (H, W) grey,
                uint8. An array (n, H, W, 3) is n images.

        Returns:
            For one image, Detectron2's `Instances`: `pred_boxes` (XYXY, pixels of the image), `scores` and
            `pred_classes`, best first, on the CPU. For several images, a list of them.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file is no image, or an array has another shape or dtype.
            TypeError: an image is of another type.
        """
        if isinstance(images, str | os.PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            return self.detect([read_picture(images)])[0]
        if not isinstance(images, Iterable):
            raise TypeError(f"images must be a path, a PIL image, an array, or several of them; got {type(images)}")
        detections: list[Instances] = []
        batch: list[np.ndarray] = []
        for image in images:
            batch.append(read_picture(image))
            if len(batch) == self.batch_size:
                detections += self.detect(batch)
                batch = []
        return detections + (self.detect(batch) if batch else [])

    def draw(self, image: Picture, instances: Instances) -> Image.Image:
        """Draw detections on an image: boxes, class names and scores; a small image is enlarged.

        Args:
            image: one image, as of `__call__`.
            instances: its detections.
        """
        return Image.fromarray(draw_instances(read_picture(image), instances, self.class_names))


def read_picture(image: Any) -> np.ndarray:
    """Read an image of any kind as (H, W, 3), RGB, uint8, rotated by its EXIF orientation.

    Args:
        image: a path, a PIL image, or an array, (H, W, 3) RGB or (H, W) grey, uint8.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a file is no image, or an array has another shape or dtype.
        TypeError: `image` is of another type.
    """
    if isinstance(image, str | os.PathLike):
        if not os.path.isfile(image):
            raise FileNotFoundError(f"there is no image {os.path.abspath(image)}")
        try:
            with Image.open(image, formats=FORMATS) as file:
                return np.array(ImageOps.exif_transpose(file).convert("RGB"))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{image} cannot be read as an image: {error}") from error
    if isinstance(image, Image.Image):
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image must be a path, a PIL image or an array, got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise ValueError(f"an array must be uint8, 0 to 255, got {image.dtype}")
    if image.ndim == 2:
        image = image[..., None].repeat(3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an array must have shape (H, W, 3), RGB, or (H, W), grey; got {image.shape}")
    return np.ascontiguousarray(image)


def find_class_names(cfg: DictConfig, given: Sequence[str] | None, trained: Sequence[str] = ()) -> list[str]:
    """Choose class names: those given, else those in the checkpoint, else those of the test data, else numbers.

    Args:
        cfg: complete config.
        given: names that take precedence.
        trained: names in the checkpoint.

    Raises:
        ValueError: the number of names is not the number of classes of the model.
    """
    num_classes = cfg.model.get("num_classes")
    names = list(given or trained)
    if names:
        if num_classes is not None and len(names) != num_classes:
            whose = "were given" if given else "are in the checkpoint"
            raise ValueError(f"{len(names)} class names {whose}, the model has {num_classes} classes")
        return names
    try:
        dataset = instantiate(cfg.dataloader.test.dataset)
    except FileNotFoundError as error:
        if num_classes is None:
            raise
        logger.warning("classes are shown as numbers, as nothing names them: %s", str(error).splitlines()[0])
        return [f"class {index}" for index in range(num_classes)]
    if num_classes is not None:
        check_num_classes(num_classes, dataset)
    return class_names(dataset)


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
