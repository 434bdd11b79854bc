"""A synthetic COCO-format data set that needs no download: coloured shapes, drawn from a seed.

The same arguments give the same bytes (with the same versions of numpy and PIL). `SceneStyle` controls how difficult it
is.
"""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from iopath.common.file_io import file_lock
from PIL import Image

from querydet.data.catalog import DetectionDataset
from querydet.data.coco import load_coco
from querydet.data.existing_data import may_generate
from querydet.data.synthetic_scene import CLASS_NAMES, Scene, SceneStyle
from querydet.utils.digest import short_digest
from querydet.utils.run_lengths import encode_masks

SPLITS = ("train", "val", "test")
MIN_IMAGE_SIZE = 32  # pixels; in smaller images the smallest objects lose their shape
MAX_IMAGES = 1_000_000  # of a split; this and the next are far above every use
MAX_IMAGE_SIZE = 4096
_VERSION = 2  # increase when what is written changes, so that old folders are not reused
_WITHOUT_MASKS = 1  # a version of the same images and boxes, whose folders serve where masks are not asked for

logger = logging.getLogger(__name__)


def load_synthetic(
    root: str,
    split: str,
    num_images: int = 1000,
    image_size: int = 128,
    seed: int = 0,
    style: SceneStyle | None = None,
    masks: bool = False,
) -> DetectionDataset:
    """Load one split, generating it first if it does not exist; arguments as for `generate_synthetic`.

    Args:
        root: see there, as the next ones.
        split: "train", "val" or "test".
        num_images: number of images.
        image_size: side of the images in pixels.
        seed: of all random choices.
        style: difficulty of the scenes.
        masks: read the masks too. Without them a folder serves that an earlier version wrote, which wrote none.

    Returns:
        The data set of `coco.load_coco`.
    """
    folder = generate_synthetic(root, split, num_images, image_size, seed, style, masks)
    return load_coco(os.path.join(folder, "annotations.json"), os.path.join(folder, "images"), masks=masks)


def generate_synthetic(
    root: str,
    split: str,
    num_images: int = 1000,
    image_size: int = 128,
    seed: int = 0,
    style: SceneStyle | None = None,
    masks: bool = True,
) -> str:
    """Write one split in COCO format, with boxes and masks, unless it exists already.

    A split gets its final name when it is complete, so a killed run leaves no incomplete data set. Several processes
    may call this at once: one writes, the others wait.

    Args:
        root: folder that the split's folder is written into. Its name holds a digest of the other arguments, so that
            different data sets can share a root.
        split: "train", "val" or "test"; their images differ.
        num_images: number of images; a larger set begins with the images of a smaller one.
        image_size: side of the square images in pixels.
        seed: of all random choices, >= 0.
        style: difficulty of the scenes; None: the easy default.
        masks: whether it has to have masks; False takes a folder without them that an earlier version wrote.

    Returns:
        The split's folder, with `annotations.json` and `images/`.

    Raises:
        FileNotFoundError: the split does not exist, inside of `existing_data.existing_data_only`.
        ValueError: the split is unknown, the seed is negative, or the number of images or their size is out of range.
    """
    style = style or SceneStyle()
    _check_recipe(split, num_images, image_size, seed)
    recipe: dict[str, Any] = {
        "version": _VERSION,
        "split": split,
        "num_images": num_images,
        "image_size": image_size,
        "seed": seed,
        "style": dataclasses.asdict(style),
    }
    folder, older = (_folder(root, {**recipe, "version": version}) for version in (_VERSION, _WITHOUT_MASKS))
    if not masks and os.path.isdir(older) and not os.path.isdir(folder):
        return older
    if not os.path.isdir(folder):
        if not may_generate():
            raise FileNotFoundError(
                f"the synthetic data set {folder} does not exist, and is not generated here: training and evaluation do"
            )
        os.makedirs(root, exist_ok=True)
        with file_lock(folder):
            if not os.path.isdir(folder):
                logger.info("Drawing %d synthetic images into %s, this once", num_images, folder)
                with _complete_or_nothing(folder) as draft:
                    _write_split(draft, recipe, style)
    return folder


def _check_recipe(split: str, num_images: int, image_size: int, seed: int) -> None:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got '{split}'")
    if not (1 <= num_images <= MAX_IMAGES and MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE and seed >= 0):
        raise ValueError(
            f"need num_images from 1 to {MAX_IMAGES}, image_size from {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} and "
            f"seed >= 0, got {num_images}, {image_size} and {seed}"
        )


def _folder(root: str, recipe: dict[str, Any]) -> str:
    digest = short_digest(json.dumps(recipe, sort_keys=True))
    return os.path.join(os.fspath(root), f"{recipe['split']}_{digest}")


@contextlib.contextmanager
def _complete_or_nothing(folder: str) -> Iterator[str]:
    """Yield a draft folder that is renamed to `folder` at the end; call it under the folder's lock."""
    parent, name = os.path.split(folder)
    prefix = f".{name}.draft."
    for left_over in os.listdir(parent or "."):  # from a killed run: nobody else writes while we hold the lock
        if left_over.startswith(prefix):
            shutil.rmtree(os.path.join(parent, left_over), ignore_errors=True)
    draft = tempfile.mkdtemp(prefix=prefix, dir=parent or ".")
    try:
        yield draft
        os.chmod(draft, 0o755)  # mkdtemp makes it private
        os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_split(folder: str, recipe: dict, style: SceneStyle) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    os.mkdir(os.path.join(folder, "images"))
    for index in range(recipe["num_images"]):
        key = (SPLITS.index(recipe["split"]), index)
        rng = np.random.RandomState(np.random.SeedSequence(recipe["seed"], spawn_key=key).generate_state(4))
        image, objects = Scene(recipe["image_size"], style, rng).draw()
        file_name = f"{index + 1:06d}.png"
        Image.fromarray(image).save(os.path.join(folder, "images", file_name))
        side = recipe["image_size"]
        images.append({"id": index + 1, "file_name": file_name, "width": side, "height": side})
        for item in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": item.label + 1,
                    "bbox": list(item.box),
                    "area": item.area,
                    "iscrowd": 0,
                    "segmentation": encode_masks(torch.from_numpy(item.mask[None]))[0],
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
    content = {"info": recipe, "images": images, "annotations": annotations, "categories": categories}
    with open(os.path.join(folder, "annotations.json"), "w", encoding="utf-8") as file:
        json.dump(content, file)
