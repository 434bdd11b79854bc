import pytest
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.meta_arch import MSDETR
from tests.models import tiny_config


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("MSDETR") is MSDETR


@pytest.mark.parametrize("name", ["ms_detr", "ms_detr_plain"])
def test_the_shipped_compositions_are_ms_detrs(name: str) -> None:
    assert type(instantiate(tiny_config(name))) is MSDETR


def test_the_parts_of_the_method_have_to_be_there() -> None:
    config = tiny_config("ms_detr", decoder__layer__one_to_many=None)
    del config.criterion.rules.one_to_many
    with pytest.raises(ValueError, match=r"MSDETR lacks a one-to-many branch .*, one-to-many assignment"):
        instantiate(config)
    config = tiny_config("ms_detr")
    config.criterion.rules.one_to_many.assigner = config.criterion.rules.decoder.assigner
    with pytest.raises(ValueError, match="MSDETR lacks one-to-many assignment"):
        instantiate(config)
