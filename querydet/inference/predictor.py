"""From a config and a checkpoint to detections: what Detectron2's ``DefaultPredictor`` is to yacs configs.

predictor = Predictor("projects/dino/configs/dino_r50_4scale_12ep.py", "model_final.pth")
found = predictor("street.jpg")  # Detectron2's Instances: pred_boxes, scores, pred_classes
found = predictor(["street.jpg", array, pil_image])  # a list of them
"""

import importlib
import logging
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from detectron2.config import instantiate
from detectron2.data.detection_utils import read_image
from detectron2.structures import Instances
from omegaconf import DictConfig
from PIL import Image, ImageOps

from querydet.checkpoint import check_exists, load_weights
from querydet.config import apply_overrides, load_config
from querydet.data.catalog import DetectionDataset, check_num_classes, class_names
from querydet.engine.run.setup import resolve_device
from querydet.evaluation import ArrayPredictor, category_ids
from querydet.inference.cuda_graphs import use_cuda_graphs
from querydet.visualization import draw_instances

logger = logging.getLogger(__name__)

Picture = np.ndarray | Image.Image | str | os.PathLike


class Predictor(ArrayPredictor):
    """Detects objects on images of any kind and size.

    Args:
        config: a complete config, the path of one, the name of a shipped one (``querydet.config.find_config``), or a
            name of the model zoo.
        weights: a checkpoint: a path, an address, or None for the one that the model zoo has for ``config``.
        threshold: smallest score in [0, 1] to keep.
        class_names: by class index; None: those in the checkpoint, else those of the config's test data, else numbers.
        batch_size: how many images are computed at once. 1: what is found on an image depends on it alone.
        device: "cpu", "cuda" ...; None: the config's ``train.device``.
        cuda_graphs: replay the device's work for sizes that came before: for a GPU, and images of few sizes.
        overrides: changes of the config, ``key=value``.

    Attributes:
        model: the detector, in evaluation mode.
        class_names: by class index.

    Raises:
        FileNotFoundError: no such config or checkpoint.
        KeyError: no such name in the model zoo.
        ValueError: the checkpoint does not fit the config, class names do not fit the model, a number is out of its
            range, or CUDA graphs are wanted on another device.
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
        """The classes' ids in the json of the config's test data, where it is there and has these; else 1, 2, 3 ..."""
        try:
            dataset = self.load_test_data()
        except FileNotFoundError:
            dataset = None
        if dataset is None or class_names(dataset) != self.class_names:
            return list(range(1, len(self.class_names) + 1))
        return category_ids(dataset)

    def load_test_data(self) -> DetectionDataset:
        """The config's test data.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it cannot be used.
        """
        return instantiate(self._test_data)

    @overload
    def __call__(self, images: Picture) -> Instances: ...
    @overload
    def __call__(self, images: Iterable[Picture]) -> list[Instances]: ...
    def __call__(self, images: Picture | Iterable[Picture]) -> Instances | list[Instances]:
        """Detect.

        Args:
            images: one image, or several of any sizes: a path, a PIL image, or an array, (H, W, 3) RGB or (H, W) grey,
                uint8. An array (n, H, W, 3) is several.

        Returns:
            Of one image, Detectron2's ``Instances``: ``pred_boxes`` (XYXY, pixels of the image), ``scores`` and
            ``pred_classes``, best first, on the CPU. Of several, a list of them.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that is no image, or an array of another kind.
            TypeError: something else.
        """
        if isinstance(images, str | os.PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            return self.detect([read_picture(images)])[0]
        if not isinstance(images, Iterable):
            raise TypeError(f"images must be a path, a PIL image, an array, or several of them; got {type(images)}")
        found: list[Instances] = []
        batch: list[np.ndarray] = []
        for image in images:
            batch.append(read_picture(image))
            if len(batch) == self.batch_size:
                found += self.detect(batch)
                batch = []
        return found + (self.detect(batch) if batch else [])

    def draw(self, image: Picture, instances: Instances) -> Image.Image:
        """The image, enlarged if it is small, with the boxes, names and scores of what was found on it."""
        return Image.fromarray(draw_instances(read_picture(image), instances, self.class_names))


def read_picture(image: Any) -> np.ndarray:
    """An image of any kind as (H, W, 3), RGB, uint8, turned as its camera says.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no image, or an array of another kind.
        TypeError: something else.
    """
    if isinstance(image, str | os.PathLike):
        if not os.path.isfile(image):
            raise FileNotFoundError(f"there is no image {os.path.abspath(image)}")
        try:
            return np.ascontiguousarray(read_image(os.fspath(image), format="RGB"))
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
    """Class names: those given, else those in the checkpoint, else those of the test data, else numbers.

    Args:
        cfg: a complete config.
        given: names to use in any case.
        trained: names in the checkpoint.

    Raises:
        ValueError: the number of names is not the model's.
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
    """The complete config of a model and the path of its weights; both may come from the model zoo.

    Args:
        config: as of :class:`Predictor`.
        weights: as of :class:`Predictor`.
        overrides: changes of the config, ``key=value``.

    Raises:
        FileNotFoundError: there is no such config.
        KeyError: no such name in the model zoo.
        ValueError: a config in memory without weights.
    """
    if isinstance(config, DictConfig):
        if weights is None:
            raise ValueError("a config alone does not say which weights: give a checkpoint")
        return apply_overrides(config.copy(), overrides), os.fspath(weights)
    name = os.fspath(config)
    if weights is not None and os.path.splitext(name)[1]:
        return load_config(name, overrides), os.fspath(weights)
    zoo = importlib.import_module("querydet.model_zoo")  # needed for its names alone
    cfg = apply_overrides(zoo.get_config(name, trained=weights is None), overrides)
    return cfg, cfg.train.init_checkpoint if weights is None else os.fspath(weights)
