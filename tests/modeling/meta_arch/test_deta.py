import pytest
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.modeling.meta_arch import DETA
from querydet.modeling.selection import TopKSelection
from tests.models import tiny_config


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("DETA") is DETA


def test_the_shipped_compositions() -> None:
    assert type(instantiate(tiny_config("deta"))) is DETA
    assert type(instantiate(tiny_config("deta_baseline"))) is QueryDetector


def test_the_parts_of_the_method_have_to_be_there() -> None:
    config = tiny_config("deta_baseline")
    config._target_ = DETA
    with pytest.raises(ValueError, match=r"DETA lacks assignment by overlap of the encoder's .*detections"):
        instantiate(config)
    config = tiny_config("deta")
    config.selection._target_ = TopKSelection
    for key in ("iou_threshold", "max_candidates", "level_share"):
        del config.selection[key]
    with pytest.raises(ValueError, match=r"DETA lacks suppression of proposals \(model.selection\); use"):
        instantiate(config)
    config = tiny_config("deta")
    config.criterion.rules.decoder.assign_once = False
    with pytest.raises(ValueError, match="DETA lacks one assignment for all decoder layers"):
        instantiate(config)
