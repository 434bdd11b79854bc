"""Mapping of a Detectron2 dataset dict to a model input.

Differs from Detectron2's `DatasetMapper`: images without objects are kept, and an image that cannot be read either
stops the run with an error that names it, or is skipped and counted. Files are read by `data.media.ImageReader`.
"""

import copy
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from querydet.data.bounded_input import BoundedInput
from querydet.data.mask_targets import HAS_MASKS, draw_masks, have_outlines, most_masks
from querydet.data.media import READ_ERRORS, ImageReader, read_record
from querydet.data.orientation import EXIF_SWITCH
from querydet.data.pixels import PixelRange

logger = logging.getLogger(__name__)

KEPT_KEYS = ("file_name", "height", "width", "image_id")
MAX_RETRIES = 10  # of a file: after more of them, a wait would be longer than those of data workers
FIRST_WAIT = 0.5  # seconds before the first retry of a file; doubled for every further one
IMAGE_FORMATS = ("RGB", "BGR")  # orders of the channels
BAD_IMAGE_POLICIES = ("raise", "skip")


class BadImageError(ValueError):
    """An image file is missing, unreadable or not the annotated one."""


class DetrDatasetMapper:
    """Reads and augments one image and its annotations.

    Args:
        is_train: whether annotations are mapped as well.
        augmentations: Detectron2 augmentations, applied in this order.
        image_format: channel order of the image tensor, "RGB" or "BGR".
        on_bad_image: "raise" stops with a `BadImageError`; "skip" returns None, counts the image in `bad_images` and
            logs it once (each worker process counts separately).
        read_retries: number of retries of a file after an error of the storage, after 0.5, 1, 2, ... seconds. Files
            that are missing, or can be read but not decoded, are not tried again.
        max_objects: a training image with more objects keeps a random subset of this size, drawn every time: each
            object costs denoising queries, whose attention grows with the square of their number. None: no limit.
            With masks fewer objects may be kept: `data.mask_targets.MAX_MASK_PIXELS` bounds their memory.
        exif: "apply", "ignore" or "match" the annotated size: see `data.media.ImageReader`, also for the next two.
        pixel_range: of images of more than 8 bits.
        max_pixels: of one image.

    Attributes:
        reader: reads the files.
        keeps_empty_masks: whether an object stays whose box survives the augmentation and whose mask does not; it is
            trained with an empty mask, as by MS-DETR's released code. See `NonEmptyMaskMapper` for the other way.

    Raises:
        ValueError: `on_bad_image` or `image_format` is unknown, a number is out of its range, or a setting of the
            reader makes no sense.
    """

    keeps_empty_masks: bool = True

    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str = "RGB",
        on_bad_image: str = "raise",
        read_retries: int = 2,
        max_objects: int | None = 1000,
        exif: str = "apply",
        pixel_range: PixelRange = None,
        max_pixels: int | None = None,
    ) -> None:
        if image_format not in IMAGE_FORMATS:
            raise ValueError(f"image_format must be one of {IMAGE_FORMATS}, got '{image_format}'")
        if on_bad_image not in BAD_IMAGE_POLICIES:
            raise ValueError(f"on_bad_image must be one of {BAD_IMAGE_POLICIES}, got '{on_bad_image}'")
        self.is_train = is_train
        self.image_format = image_format
        self.on_bad_image = on_bad_image
        if max_objects is not None and max_objects < 1:
            raise ValueError(f"max_objects must be at least 1 or None, got {max_objects}")
        if not 0 <= read_retries <= MAX_RETRIES:
            raise ValueError(f"read_retries must be from 0 to {MAX_RETRIES}, got {read_retries}")
        self.read_retries = read_retries
        self.max_objects = max_objects
        self.bad_images: dict[str, int] = {}
        self.reader = ImageReader(exif=exif, pixel_range=pixel_range, max_pixels=max_pixels)
        self._augmentations = T.AugmentationList(list(augmentations))

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Map one image.

        Args:
            record: `file_name, height, width, image_id` and, for training, `annotations` and, where an image without
                objects is to have `gt_masks` too, `has_masks`. Not changed.

        Returns:
            `image` (3, H, W) uint8 after augmentation, `height` and `width` of the file, `image_id`,
            `file_name`, and in training `instances` with `gt_boxes` (XYXY, pixels of the augmented image) and
            `gt_classes`: clipped to the image, without crowd regions and empty boxes; possibly no objects. Where the
            data have masks, also `gt_masks` (T, H, W), `BitMasks`; boxes are not tightened to them.
            None for an image that "skip" leaves out.

        Raises:
            BadImageError: the file cannot be used, and `on_bad_image` is "raise"; the message names it.
            ValueError: an outline cannot be read, or some objects of the image have none; the message names both.
        """
        try:
            image = self._read(record)
            _check_size(record, image)
        except READ_ERRORS as error:
            self._handle_bad_image(record["file_name"], error)
            return None
        original_size = image.shape[:2]
        augmented = BoundedInput(image)
        transforms = self._augmentations(augmented)
        sample: dict[str, Any] = {key: record[key] for key in KEPT_KEYS if key in record}
        sample["image"] = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        if self.is_train:
            try:
                sample["instances"] = self._instances(record, transforms, original_size, augmented.image.shape[:2])
            except ValueError as error:
                raise ValueError(f"image {record['file_name']}: {error}") from error
        return sample

    def _read(self, record: dict[str, Any]) -> np.ndarray:
        """Read an image (H, W, 3), retrying errors of network storage but not missing or damaged files."""
        for attempt in range(self.read_retries):
            try:
                return self._ordered(read_record(record, self))
            except OSError as error:
                # errors of the system have an errno, PIL's errors about content have none
                if error.errno is None or isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
                    raise
                logger.warning("image %s cannot be read now, trying again: %s", record["file_name"], error)
                time.sleep(FIRST_WAIT * 2**attempt)
        return self._ordered(read_record(record, self))

    def _ordered(self, image: np.ndarray) -> np.ndarray:
        return image if self.image_format == "RGB" else image[:, :, ::-1]

    def _instances(
        self,
        record: dict[str, Any],
        transforms: T.TransformList,
        original_size: tuple[int, int],
        size: tuple[int, int],
    ) -> Any:
        annotations = [item for item in record.get("annotations", []) if not item.get("iscrowd", 0)]
        with_masks = have_outlines(annotations) if annotations else record.get(HAS_MASKS, False)
        objects = [
            utils.transform_instance_annotations(_without_outline(annotation), transforms, size)
            for annotation in annotations
        ]
        instances = utils.annotations_to_instances(objects, size)
        instances, kept = utils.filter_empty_instances(instances, by_mask=False, return_mask=True)
        chosen = np.flatnonzero(kept.numpy())
        limits = [self.max_objects, most_masks(size) if with_masks else None]
        limit = min((limit for limit in limits if limit is not None), default=len(instances))
        if len(instances) > limit:
            drawn = np.sort(np.random.permutation(len(instances))[:limit])  # noqa: NPY002 - seeded for each sample
            instances, chosen = instances[torch.from_numpy(drawn)], chosen[drawn]
        if with_masks:
            instances.gt_masks = draw_masks([annotations[i] for i in chosen], transforms, original_size, size)
            if not self.keeps_empty_masks:
                instances = instances[instances.gt_masks.nonempty()]
        return instances

    def _handle_bad_image(self, file_name: str, error: Exception) -> None:
        reason = f"image {file_name} cannot be used: {type(error).__name__}: {error}"
        if self.on_bad_image == "raise":
            raise BadImageError(
                f"{reason}; set dataloader.train.mapper.on_bad_image=skip to train without it"
            ) from error
        self.bad_images[file_name] = self.bad_images.get(file_name, 0) + 1
        if self.bad_images[file_name] == 1:
            logger.warning("skipped: %s (%d bad images so far)", reason, len(self.bad_images))


class NonEmptyMaskMapper(DetrDatasetMapper):
    """As `DetrDatasetMapper`, but leaves out objects of which the augmented image shows no pixel.

    A crop may cut off all of an object and still cut its box. Source: Mask2Former's released code, whose detectors have
    nothing but the mask to find an object by.
    """

    keeps_empty_masks = False


def _without_outline(annotation: dict[str, Any]) -> dict[str, Any]:
    """Copy an annotation, without what is drawn later and only for some objects."""
    return copy.deepcopy({key: value for key, value in annotation.items() if key != "segmentation"})


def _check_size(record: dict[str, Any], image: np.ndarray) -> None:
    """Check an image against its annotated size.

    Raises:
        detectron2.data.detection_utils.SizeMismatchError: they differ; the message says how to read files whose
            orientation the annotation ignores, or takes into account.
    """
    try:
        utils.check_image_size(record, image)
    except utils.SizeMismatchError as error:
        if image.shape[:2] != (record["width"], record["height"]):
            raise utils.SizeMismatchError(
                f"{error} querydet check-data says which of the two sizes the boxes are of, where they tell."
            ) from error
        raise utils.SizeMismatchError(
            f"{error} Width and height are swapped: if the file has an EXIF orientation, set {EXIF_SWITCH}=match, or "
            "=ignore if all were annotated without it; if not, querydet check-data --write-fixed may correct the json."
        ) from error
