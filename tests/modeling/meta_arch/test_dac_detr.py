import pytest
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.meta_arch import DACDETR, MSDETR
from tests.models import tiny_config


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("DACDETR") is DACDETR


def test_the_shipped_compositions() -> None:
    assert type(instantiate(tiny_config("dac_detr"))) is DACDETR
    assert type(instantiate(tiny_config("dac_detr_plain"))) is DACDETR
    assert type(instantiate(tiny_config("ms_dac_detr"))) is MSDETR


def test_the_parts_of_the_method_have_to_be_there() -> None:
    with pytest.raises(ValueError, match=r"DACDETR lacks a second stream .*, its one-to-many assignment"):
        instantiate(tiny_config("deformable_detr", _target_=DACDETR))
    config = tiny_config("dac_detr_plain")
    config.criterion.rules.second_stream.assigner = config.criterion.rules.decoder.assigner
    with pytest.raises(ValueError, match="DACDETR lacks its one-to-many assignment"):
        instantiate(config)
