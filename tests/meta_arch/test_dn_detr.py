import pytest
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY

from querydet.meta_arch import DNDETR
from tests.models import tiny_config


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("DNDETR") is DNDETR


def test_the_shipped_composition_is_a_dn_detr() -> None:
    assert type(instantiate(tiny_config("dn_detr"))) is DNDETR


def test_the_parts_of_the_method_have_to_be_there() -> None:
    config = tiny_config("dn_detr", denoising=None)
    config.criterion.rules = config.criterion.rules[:1]
    with pytest.raises(ValueError, match="DNDETR lacks denoising"):
        instantiate(config)
    with pytest.raises(ValueError, match="DNDETR lacks the indicator"):
        instantiate(tiny_config("dn_detr", selection__indicator=False))
    config = tiny_config("dino")
    config._target_ = DNDETR
    with pytest.raises(ValueError, match=r"lacks denoising .*, queries that start from learned boxes"):
        instantiate(config)
