"""The test data of a config, `dataloader.test`: whether there are any, and their classes as those of the model."""

import copy
import inspect
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from querydet.data.catalog import DetectionDataset
from querydet.data.dataset_nodes import nodes_of
from querydet.data.media import reader_of
from querydet.data.sources import sources_of
from querydet.utils.lazy import instantiate
from querydet.utils.targets import check_targets

logger = logging.getLogger(__name__)


def why_no_test_data(cfg: DictConfig) -> str:
    """Return the key of a config that switches its test data off, being null or absent; "" when there are test data."""
    for key in ("dataloader.test", "dataloader.test.dataset"):
        if OmegaConf.select(cfg, key, throw_on_missing=False) is None:
            return key
    return ""


def need_test_data(cfg: DictConfig) -> None:
    """Check that a config has test data.

    Raises:
        ValueError: it has none.
    """
    key = why_no_test_data(cfg)
    if key:
        raise ValueError(
            f"the config has no test data, as {key} is null: set dataloader.test, or use a config that has it"
        )


def as_trained(cfg: DictConfig, classes: Sequence[str] = ()) -> DictConfig:
    """Return a config whose test data have the classes of the model, matched by name, and need no annotations.

    Args:
        cfg: the complete config; not changed.
        classes: class names of the training data; empty where nobody knows them.

    Returns:
        A copy; data of loaders that have no such arguments are as before. Data sets that others are made of have the
        classes themselves.
    """

    def changes(node: DictConfig, accepted: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "need_annotations" in accepted and "need_annotations" not in node:
            found["need_annotations"] = False
        if classes and "classes" in accepted and node.get("classes") is None:
            found["classes"] = list(classes)
        return found

    return _with_changes(cfg, changes)


def with_masks(cfg: DictConfig) -> DictConfig:
    """Return a config whose test data have masks; data of loaders that have no such argument are as before."""
    return _with_changes(cfg, lambda node, accepted: {"masks": True} if "masks" in accepted else {})


def load_test_data(cfg: DictConfig, classes: Sequence[str] = ()) -> DetectionDataset:
    """Load the test data of a config.

    Args:
        cfg: the complete config.
        classes: see `as_trained`.

    Raises:
        FileNotFoundError: the data are not on this machine.
        ValueError: there are none, or they cannot be used.
    """
    need_test_data(cfg)
    return instantiate(as_trained(cfg, classes).dataloader.test.dataset)


def warn_of_differences(cfg: DictConfig, train: Any, test: Any) -> None:
    """Warn when training and test data are one file, or their image files are read by different rules.

    Args:
        cfg: the complete config.
        train: training data, any object with a `name`.
        test: test data.
    """
    for trained, tested in itertools.product(sources_of(train), sources_of(test)):
        if trained.overlaps(tested):
            logger.warning(
                "%s is both the training and the test data: results will be better than the model", trained.json_file
            )
            break
    readers = [reader_of(OmegaConf.select(cfg, f"dataloader.{split}.mapper")) for split in ("train", "test")]
    if readers[0] != readers[1]:
        logger.warning("training and test images are read by different rules: %s and %s", *readers)


def _with_changes(cfg: DictConfig, changes: Callable[[DictConfig, Sequence[str]], dict[str, Any]]) -> DictConfig:
    """Return a copy of a config with changes of the nodes of its test data, also of those inside of others.

    Args:
        cfg: the complete config.
        changes: returns the changes of a node whose target accepts some arguments.
    """
    found = {key: changes(node, _arguments(node)) for key, node in nodes_of(cfg, "dataloader.test.dataset")}
    if not any(found.values()):
        return cfg
    changed = copy.deepcopy(cfg)
    for key, values in found.items():
        for name, value in values.items():
            OmegaConf.update(changed, f"{key}.{name}", value, force_add=True)
    return changed


def _arguments(node: DictConfig) -> list[str]:
    """Return the names of the arguments of what a node builds; none where that is not known or may not be called."""
    target = node.get("_target_")
    try:
        check_targets(node)
        return list(inspect.signature(locate(target) if isinstance(target, str) else target).parameters)
    except (ImportError, TypeError, ValueError):
        return []
