"""The published models: entries are data (``entries.json``), each with the config that its weights fit."""

import importlib.resources
import json
import logging
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from iopath.common.file_io import file_lock, get_cache_dir
from omegaconf import DictConfig
from torch import nn

from querydet.checkpoint import load_weights
from querydet.checkpoint.conversion.coco_classes import COCO_NAMES
from querydet.checkpoint.conversion.pipeline import convert_content, save_weights
from querydet.checkpoint.reading import read_checkpoint
from querydet.config import load_config, shipped_configs
from querydet.model_zoo.download import download, is_intact
from querydet.utils.digest import hash_file
from querydet.utils.lazy import instantiate
from querydet.utils.texts import nearest

CACHE = "QUERYDET_CACHE"  # environment variable: the folder of downloads
VERSION = "1"  # of converted files: raised when converting changes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A published model.

    Args:
        name: name in this zoo.
        config: shipped recipe that it was trained as.
        layout: naming of the weights in its file: "official", "detrex" or "huggingface".
        publisher: repository that publishes the file.
        url: address of the file; None where there is only a page to get it from by hand.
        page: address of the page that publishes it.
        sha256: checksum of the file, where it is known.
        overrides: changes of the config that the weights need.
        select_coco_classes: reduce 91 outputs to the config's 80 classes.
        ema: take the moving average of the weights.
    """

    name: str
    config: str
    layout: str
    publisher: str
    url: str | None = None
    page: str = ""
    sha256: str | None = None
    overrides: tuple[str, ...] = field(default=())
    select_coco_classes: bool = False
    ema: bool = False

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return Path(self.config).stem


@cache
def entries() -> dict[str, Entry]:
    """Return all published models by name."""
    text = importlib.resources.files("querydet.model_zoo").joinpath("entries.json").read_text(encoding="utf-8")
    found = [Entry(**(fields | {"overrides": tuple(fields.get("overrides", ()))})) for fields in json.loads(text)]
    return {entry.name: entry for entry in found}


def names() -> list[str]:
    """Return the names of all published models."""
    return list(entries())


def get_entry(name: str) -> Entry:
    """Return the entry of a published model.

    Args:
        name: name in the zoo; a recipe's path or file name stands for the model of that name.

    Raises:
        KeyError: there is none; the message has the nearest names.
    """
    key = Path(name).stem if name.endswith((".py", ".yaml")) else name
    if key not in entries():
        near = f"the nearest are {', '.join(nearest(key, names(), 3))}"
        if any(Path(path).stem == key for path in shipped_configs()):
            raise KeyError(f"'{name}' is a recipe without published weights, and no published model; {near}")
        raise KeyError(f"no published model '{name}'; {near}")
    return entries()[key]


def get_config(name: str, trained: bool = False) -> DictConfig:
    """Return the complete config of a published model.

    Args:
        name: see `get_entry`.
        trained: set ``train.init_checkpoint`` to its converted weights, which are downloaded if necessary; otherwise it
            stays that of the recipe, usually a backbone.

    Raises:
        KeyError: there is no such model.
        Exception: as `get_checkpoint_file`.
    """
    entry = get_entry(name)
    cfg = load_config(entry.config, entry.overrides)
    if trained:
        cfg.train.init_checkpoint = get_checkpoint_file(name)
        cfg.train.init_allow_mismatch = False
    return cfg


def get_checkpoint_url(name: str) -> str:
    """Return the address of the published weights: of the file, or of a page to get it from by hand.

    Raises:
        KeyError: there is no such model.
    """
    entry = get_entry(name)
    return entry.url or entry.page


def get_checkpoint_file(name: str) -> str:
    """Return a local file with the weights of a published model under this project's names.

    The published file is downloaded to the cache (`cache_folder`) and verified, then converted; both are kept.

    Args:
        name: see `get_entry`.

    Raises:
        KeyError: there is no such model.
        FileNotFoundError: the file is not at its address any more, or has to be got by hand and is not there.
        ConnectionError: it cannot be downloaded now.
        ValueError: the file was changed, is no checkpoint, or does not fit the config.
    """
    entry = get_entry(name)
    published = published_file(entry)
    kind = os.path.splitext(published)[1]
    converted = published[: -len(kind)] + f".querydet{VERSION}.pth"
    with file_lock(converted):
        digest = hash_file(published)
        if not (os.path.isfile(converted) and _made_from(converted) == digest):
            content = read_checkpoint(published)
            result = convert_content(
                content,
                published,
                config=load_config(entry.config, entry.overrides),
                coco_classes=entry.select_coco_classes,
                ema=entry.ema,
            )
            logger.info("%s\n%s", published, result.report())
            extra = {"author": f"{entry.publisher}, converted by querydet", **result.extra()}
            extra["class_names"] = list(COCO_NAMES)
            save_weights(result.state, converted, extra, copy=False)
            Path(converted + ".json").write_text(json.dumps({"made_from": digest, "sha256": hash_file(converted)}))
    return converted


def published_file(entry: Entry) -> str:
    """Return the published file of a model in the cache.

    Raises:
        FileNotFoundError: it is not at its address any more, or has to be got by hand.
        ConnectionError: it cannot be downloaded now.
        ValueError: the file was changed, or is no checkpoint.
    """
    source = entry.url or ""
    kind = os.path.splitext(source.partition("?")[0])[1] or ".pth"
    path = os.path.join(cache_folder(), entry.name + kind)
    if entry.url:
        return download(entry.url, path, sha256=entry.sha256, check=read_checkpoint)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"the weights of {entry.name} are published on a page that programs cannot download from: {entry.page}. "
            f"Get them by hand and put them at {path}"
        )
    if not is_intact(path, entry.sha256):
        raise ValueError(f"{path} does not have the sha256 {entry.sha256} of the published file: download it again")
    return path


def get(name: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """Build a published model.

    Args:
        name: see `get_entry`.
        trained: load its weights; otherwise all are random, those of the backbone too.
        device: device of the model; None: a GPU when there is one.

    Returns:
        The model, in training mode as Detectron2's zoo returns it.

    Raises:
        KeyError: there is no such model.
        Exception: as `get_checkpoint_file`.
    """
    cfg = get_config(name, trained)
    model = instantiate(cfg.model)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if trained:
        load_weights(model, cfg.train.init_checkpoint)
    return model


def cache_folder() -> str:
    """Return the folder of downloads: ``QUERYDET_CACHE``, else in the cache of Detectron2's downloads."""
    return os.environ.get(CACHE) or os.path.join(get_cache_dir(), "querydet")


def _made_from(converted: str) -> Any:
    """Return the checksum of the published file that a converted one was made from; None when that is not whole."""
    try:
        notes = json.loads(Path(converted + ".json").read_text())
        return notes["made_from"] if hash_file(converted) == notes["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
