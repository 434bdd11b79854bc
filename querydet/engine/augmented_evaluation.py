"""Test-time augmentation of ``--eval-only``, from the config."""

import logging

from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from querydet.evaluation.augmented_views import TestTimeAugmentation

logger = logging.getLogger(__name__)


def augment_tests(cfg: DictConfig, model: nn.Module) -> nn.Module:
    """The model, wrapped as ``train.test_time_augmentation`` says where that is enabled.

    Raises:
        ValueError: settings that make no sense.
    """
    settings = OmegaConf.select(cfg, "train.test_time_augmentation")
    if settings is None or not settings.enabled:
        return model
    ensemble = None if settings.ensemble is None else instantiate(settings.ensemble)
    wrapper = TestTimeAugmentation(model, scales=list(settings.scales), flip=settings.flip, ensemble=ensemble)
    logger.info("Test-time augmentation: %d views, %s", len(wrapper.views), type(wrapper.ensemble).__name__)
    return wrapper
