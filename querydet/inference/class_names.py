"""The names of the classes that a model detects."""

import logging
from collections.abc import Sequence

from omegaconf import DictConfig

from querydet.data.catalog import check_num_classes, class_names
from querydet.data.existing_data import existing_data_only
from querydet.data.validation_set import load_test_data, why_no_test_data

logger = logging.getLogger(__name__)


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
        with existing_data_only():
            dataset = load_test_data(cfg)
    except (FileNotFoundError, ValueError) as error:
        if num_classes is None or not (isinstance(error, FileNotFoundError) or why_no_test_data(cfg)):
            raise
        logger.warning("classes are shown as numbers, as nothing names them: %s", str(error).splitlines()[0])
        return [f"class {index}" for index in range(num_classes)]
    if num_classes is not None:
        check_num_classes(num_classes, dataset)
    return class_names(dataset)
