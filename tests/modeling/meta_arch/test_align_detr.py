import pytest
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.meta_arch import MSDINO, AlignDETR
from tests.models import tiny_config


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("AlignDETR") is AlignDETR


def test_the_shipped_compositions() -> None:
    assert type(instantiate(tiny_config("align_detr"))) is AlignDETR
    assert type(instantiate(tiny_config("ms_align_detr"))) is MSDINO


def test_the_parts_of_the_method_have_to_be_there() -> None:
    with pytest.raises(ValueError, match=r"AlignDETR lacks class targets .*, weights by rank"):
        instantiate(tiny_config("dino", _target_=AlignDETR))
    config = tiny_config("align_detr")
    config.criterion.rules.decoder.pair_weights = None
    with pytest.raises(ValueError, match=r"AlignDETR lacks weights by rank \(pair_weights of"):
        instantiate(config)
