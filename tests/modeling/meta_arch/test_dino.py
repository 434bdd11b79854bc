import pytest
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.meta_arch import DINO
from tests.models import tiny_config


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("DINO") is DINO


def test_the_shipped_composition_is_a_dino() -> None:
    assert type(instantiate(tiny_config("dino"))) is DINO


def test_the_parts_of_the_method_have_to_be_there() -> None:
    config = tiny_config("dino", decoder__look_forward_twice=False)
    with pytest.raises(ValueError, match="DINO lacks looking forward twice"):
        instantiate(config)
    config = tiny_config("dino", denoising=None)
    del config.criterion.rules.denoising
    with pytest.raises(ValueError, match="DINO lacks contrastive denoising"):
        instantiate(config)
