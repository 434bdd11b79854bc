"""COCO's 80 classes of 91 outputs."""

import pytest
import torch

from querydet.checkpoint.conversion.coco_classes import COCO_IDS
from querydet.checkpoint.conversion.pipeline import convert_content
from tests.checkpoint.conversion.layouts import tiny


@pytest.mark.parametrize("name", ["dino_4scale", "deformable_two_stage", "dn_dab_deformable"])
def test_selection_of_coco_classes(name):
    content = tiny(name, num_classes=91)
    state = content["model"]
    kept = convert_content(content)
    assert kept.fit.cfg.model.num_classes == 91
    assert "--select-coco-classes" in kept.report()
    selected = convert_content(content, coco_classes=True)
    assert selected.fit.cfg.model.num_classes == 80
    ids = torch.tensor(COCO_IDS)
    # the 80 category ids as COCO prints them
    assert len(ids) == 80
    assert set(range(1, 91)) - set(COCO_IDS) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert torch.equal(selected.state["heads.class_heads.0.weight"], state["class_embed.0.weight"][ids])
    assert torch.equal(selected.state["heads.class_heads.0.bias"], state["class_embed.0.bias"][ids])
    if name == "dino_4scale":  # its encoder predicts classes
        encoder = state["transformer.enc_out_class_embed.weight"]
        assert torch.equal(selected.state["selection.proposals.class_head.weight"], encoder[ids])
    if name == "deformable_two_stage":  # its encoder predicts an objectness in column 0
        encoder = state["class_embed.3.bias"]
        assert torch.equal(selected.state["selection.proposals.class_head.bias"], encoder[:80])
    if "label_enc.weight" in state:
        table = state["label_enc.weight"]
        assert torch.equal(selected.state["denoising.label_embed.weight"], table[torch.tensor([*COCO_IDS, 91])])


def test_coco_classes_of_other_than_91_outputs_are_refused():
    with pytest.raises(ValueError, match=r"from 91 outputs, but heads.class_heads.0.weight has 7"):
        convert_content(tiny("dino_4scale"), coco_classes=True)
