"""Which class of a file is which class of a model."""

import pytest
import torch

from querydet.checkpoint import Checkpointer, adapt, load_adapted
from querydet.checkpoint.class_maps import KnownMap
from querydet.checkpoint.class_matching import match_classes
from querydet.checkpoint.conversion.coco_classes import COCO_NAMES
from tests.models import tiny_detector

FILE = ["Person", "Wild Bird", "Sneakers", "Potted Plant"]
KNOWN = KnownMap("birds", 4, {"person": 2, "bird": 1, "potted plant": 0})


def test_names_come_before_the_map_and_every_row_has_its_source():
    rows, lines = match_classes(4, 4, FILE, ["bird", "person", "cow", "potted_plant"], KNOWN)
    assert rows == (1, 0, None, 3)
    assert lines == (
        "classes: 4 in the file, 4 in the model",
        "classes found by name: person, potted_plant",
        "classes found by birds: bird from row 1 ('Wild Bird')",
    )


def test_without_names_in_the_file_the_map_decides():
    rows, lines = match_classes(4, 2, (), ["bird", "person"], KNOWN)
    assert rows == (1, 2)
    assert lines[2] == "classes found by birds: bird from row 1, person from row 2"
    assert match_classes(4, 3, (), (), KNOWN)[0] == (2, 1, 0)
    assert match_classes(4, 2, (), (), KNOWN)[0] == (None, None)


def test_an_unused_output_at_the_front_moves_all_rows():
    rows, lines = match_classes(5, 3, FILE, ["bird", "person", "cow"], KNOWN)
    assert rows == (2, 1, None)
    assert lines[2] == "classes found by birds: bird from row 2 ('Wild Bird')"
    with pytest.raises(ValueError, match="this one has 6"):
        match_classes(6, 3, FILE, ["bird"], KNOWN)


@pytest.mark.parametrize("unused", [0, 1])
@pytest.mark.parametrize("name", ["dino", "deta"])
def test_a_detector_of_objects365_becomes_one_of_coco(name, unused, tmp_path):
    """In the class heads of all layers, in the encoder's, and in the table of denoising labels."""
    outputs, table = 365 + unused, "denoising.label_embed.weight"
    source = tiny_detector(name, num_classes=outputs).state_dict()
    Checkpointer(tiny_detector(name, num_classes=outputs), str(tmp_path)).save("source")
    target = tiny_detector(name, seed=1, num_classes=80)
    before = target.state_dict()
    done = load_adapted(target, str(tmp_path / "source.pth"), COCO_NAMES, class_map="objects365_to_coco")
    heads = [key for key in before if "class_head" in key and key.endswith("bias")]
    assert len(heads) >= 2
    for key in [*heads, table] if name == "dino" else heads:
        if name == "deta" and key.startswith("selection."):
            assert torch.equal(done.state[key], source[key][:80])  # objectness in the first
            continue
        assert torch.equal(done.state[key][0], source[key][unused])  # person
        assert torch.equal(done.state[key][14], source[key][56 + unused])  # bird, Wild Bird
        assert torch.equal(done.state[key][79], source[key][226 + unused])  # toothbrush
    if name == "dino":
        assert torch.equal(done.state[table][80], source[table][outputs])  # "no object"
    assert f"classes: {outputs} in the file, 80 in the model" in done.describe()
    assert f"bird from row {56 + unused}" in done.describe()


def test_a_map_of_other_data_is_refused():
    source = tiny_detector("dino").state_dict()
    with pytest.raises(ValueError, match="this one has 5: leave it out"):
        adapt(tiny_detector("dino"), source, class_map=KnownMap("other", 365, {}))
