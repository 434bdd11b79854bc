"""Combinations with DINO promise its ideas by their name, and check them."""

import pytest
from detectron2.config import instantiate

from querydet.modeling.meta_arch import DINO, MSDETR, MSDINO, GroupDETR, GroupDINO
from tests.models import tiny_config

CLASSES = {"group_dino": (GroupDINO, GroupDETR), "ms_dino": (MSDINO, MSDETR)}


@pytest.mark.parametrize("name", CLASSES)
def test_they_have_the_ideas_of_both_papers(name: str) -> None:
    own, other = CLASSES[name]
    detector = instantiate(tiny_config(name))
    assert type(detector) is own
    assert detector.method_parts() == dict.fromkeys(
        {**other.method_parts(detector), **DINO.method_parts(detector)}, True
    )


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"denoising": None, "criterion__rules__denoising": None}, "lacks contrastive denoising"),
        ({"decoder__look_forward_twice": False}, "lacks looking forward twice"),
    ],
)
def test_each_of_dinos_ideas_has_to_be_there(name: str, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        instantiate(tiny_config(name, **change))


def test_the_idea_of_the_other_paper_has_to_be_there() -> None:
    with pytest.raises(ValueError, match="GroupDINO lacks groups of queries"):
        instantiate(tiny_config("group_dino", selection__num_groups=1))
    with pytest.raises(ValueError, match="MSDINO lacks a one-to-many branch"):
        instantiate(tiny_config("dino", _target_=MSDINO))
