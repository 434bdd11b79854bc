import pytest
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.meta_arch import GroupDETR
from tests.models import tiny_config

COMPOSITIONS = (
    "group_deformable_detr_pp",
    "group_dino",
    "group_dab_deformable_detr",
    "group_dn_detr",
    "group_conditional_detr",
)


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("GroupDETR") is GroupDETR


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_the_shipped_compositions_are_group_detrs(name: str) -> None:
    assert isinstance(instantiate(tiny_config(name)), GroupDETR)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_groups_have_to_be_there(name: str) -> None:
    with pytest.raises(ValueError, match=r"Group(DETR|DINO) lacks groups of queries"):
        instantiate(tiny_config(name, selection__num_groups=1))
    config = tiny_config("deformable_detr_pp", _target_=GroupDETR)
    with pytest.raises(ValueError, match="GroupDETR lacks groups of queries"):
        instantiate(config)
