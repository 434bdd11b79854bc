"""Weights of one detector for another: what is kept, what is newly initialized, and what is refused."""

import pytest
import torch

from querydet.checkpoint import adapt
from querydet.checkpoint.training_only import inference_state
from tests.models import make_inputs, tiny_detector

FIVE = ["car", "dog", "Traffic Light", "person", "cat"]
HEAD = "heads.class_heads.0.weight"
TABLE = "denoising.label_embed.weight"


def test_the_same_model_gets_every_weight_and_nothing_is_said() -> None:
    source, target = tiny_detector("group_dino"), tiny_detector("group_dino", seed=1)
    done = adapt(target, source.state_dict(), source_classes=FIVE, target_classes=FIVE)
    assert all(torch.equal(done.state[key], value) for key, value in source.state_dict().items())
    assert done.describe() == "nothing differs"


def test_classes_are_found_by_name_in_all_that_knows_classes() -> None:
    source = tiny_detector("dino").state_dict()
    target = tiny_detector("dino", seed=1, num_classes=3)
    own = target.state_dict()
    done = adapt(target, source, source_classes=FIVE, target_classes=["traffic_light", "bicycle", "car"])
    for key in (HEAD, "heads.class_heads.0.bias", "selection.proposals.class_head.weight", TABLE):
        assert torch.equal(done.state[key][0], source[key][2])
        assert torch.equal(done.state[key][1], own[key][1])
        assert torch.equal(done.state[key][2], source[key][0])
    assert torch.equal(done.state[TABLE][3], source[TABLE][5])  # "no object"
    assert torch.equal(done.state["encoder.layers.0.ffn.linear1.weight"], source["encoder.layers.0.ffn.linear1.weight"])
    said = done.describe()
    assert "classes: 5 in the file, 3 in the model; found by name: traffic_light, car" in said
    assert f"{HEAD}: the rows of bicycle" in said


def test_equally_many_classes_of_other_names_are_not_mistaken_for_each_other() -> None:
    source, target = tiny_detector("dino"), tiny_detector("dino", seed=1)
    names = ["a", "b", "c", "d", "dog"]
    done = adapt(target, source.state_dict(), source_classes=FIVE, target_classes=names)
    assert torch.equal(done.state[HEAD][4], source.state_dict()[HEAD][1])
    assert torch.equal(done.state[HEAD][:4], target.state_dict()[HEAD][:4])


def test_without_names_other_classes_are_newly_initialized_and_as_many_keep_their_order() -> None:
    source = tiny_detector("dino").state_dict()
    target = tiny_detector("dino", seed=1, num_classes=7)
    done = adapt(target, source, target_classes=[f"new {index}" for index in range(7)])
    assert torch.equal(done.state[HEAD], target.state_dict()[HEAD])
    assert "without names to find them by" in done.describe()
    assert torch.equal(adapt(tiny_detector("dino", seed=1), source).state[HEAD], source[HEAD])


def test_objectness_of_proposals_is_no_class() -> None:
    source = tiny_detector("deta").state_dict()
    target = tiny_detector("deta", seed=1, num_classes=2)
    done = adapt(target, source, source_classes=FIVE, target_classes=["cat", "bus"])
    key = "selection.proposals.class_head.weight"
    assert torch.equal(done.state[key], source[key][:2])
    assert torch.equal(done.state["heads.class_heads.1.weight"][0], source["heads.class_heads.1.weight"][4])


@pytest.mark.parametrize(("name", "tables"), [("dino", ["content"]), ("dab_deformable_detr", ["content", "anchors"])])
@pytest.mark.parametrize("count", [7, 20])
def test_the_first_queries_are_kept(name: str, tables: list[str], count: int) -> None:
    source = tiny_detector(name).state_dict()
    target = tiny_detector(name, seed=1, selection__num_queries=count)
    done = adapt(target, source)
    for table in tables:
        key = f"selection.{table}.weight"
        assert torch.equal(done.state[key][:12], source[key][:count])
        assert torch.equal(done.state[key][12:], target.state_dict()[key][12:])
        assert (f"{key}: queries 12 to 19" in done.fresh) == (count == 20)


def test_more_groups_start_from_the_first_one() -> None:
    source = tiny_detector("dino").state_dict()
    target = tiny_detector("group_dino", seed=1)
    done = adapt(target, source)
    own = target.state_dict()
    assert torch.equal(done.state["denoising.members.0.label_embed.weight"], source[TABLE])
    for group in (0, 1):
        head = f"selection.extra_proposals.{group}."
        assert torch.equal(done.state[head + "class_head.weight"], source["selection.proposals.class_head.weight"])
        assert torch.equal(done.state[head + "linear.weight"], own[head + "linear.weight"])
        assert f"selection.extra_contents.{group}.weight" in done.fresh
    target.load_state_dict(done.state)
    assert sum(target(make_inputs([(96, 128)], [2])).values()).isfinite()


def test_fewer_groups_leave_the_rest_out() -> None:
    source = tiny_detector("group_dino").state_dict()
    done = adapt(tiny_detector("dino", seed=1), source)
    assert torch.equal(done.state[TABLE], source["denoising.members.0.label_embed.weight"])
    assert "selection.extra_contents.1.weight" in done.dropped
    fewer = tiny_detector("group_dino", seed=1, selection__num_groups=2)
    done = adapt(fewer, source)
    assert torch.equal(done.state["selection.extra_contents.0.weight"], source["selection.extra_contents.0.weight"])


def test_levels_correspond_by_resolution() -> None:
    """Four levels are the coarser four of five that begin with a finer backbone map."""
    target = tiny_detector("dino_5scale", seed=1)
    own = target.state_dict()
    channels = {"res3": 16, "res4": 32, "res5": 64}  # each map has its own width, the same in both
    assert target.neck.in_channels == {"res2": 8, **channels}
    state = tiny_detector("dino", neck__in_channels=channels, backbone__channels=channels).state_dict()
    state["backbone.mix.res2.weight"] = own["backbone.mix.res2.weight"]  # a real backbone has it in any case
    state["backbone.mix.res2.bias"] = own["backbone.mix.res2.bias"]
    done = adapt(target, state)
    assert torch.equal(done.state["neck.level_embed"][1:], state["neck.level_embed"])
    assert torch.equal(done.state["neck.projections.2.conv.weight"], state["neck.projections.1.conv.weight"])
    assert torch.equal(done.state["neck.projections.0.conv.weight"], own["neck.projections.0.conv.weight"])
    for part in ("encoder.layers.1.attention", "decoder.layers.0.cross_attention"):
        key = f"{part}.sampling_offsets.weight"
        moved, before = (values[key].view(4, levels, 8, 32) for values, levels in ((done.state, 5), (state, 4)))
        assert torch.equal(moved[:, 1:], before)
        assert torch.equal(moved[:, 0], own[key].view(4, 5, 8, 32)[:, 0])
        key = f"{part}.attention_weights.bias"
        assert torch.equal(done.state[key].view(4, 5, 4)[:, 1:], state[key].view(4, 4, 4))
    assert "levels: 4 in the file, 5 in the model; new: 0" in done.describe()


def test_a_coarser_level_more_or_less() -> None:
    source = tiny_detector("dino").state_dict()
    five = tiny_detector("dino", seed=1, neck__num_levels=5)
    done = adapt(five, source)
    assert torch.equal(done.state["neck.level_embed"][:4], source["neck.level_embed"])
    assert "neck.extra_projections.1.conv.weight" in done.fresh
    three = tiny_detector("dino", seed=1, neck__num_levels=3)
    done = adapt(three, source)
    assert torch.equal(done.state["neck.level_embed"], source["neck.level_embed"][:3])
    assert "neck.extra_projections.0.conv.weight" in done.dropped
    key = "encoder.layers.0.attention.attention_weights.weight"
    assert torch.equal(done.state[key].view(4, 3, 4, 32), source[key].view(4, 4, 4, 32)[:, :3])


def test_a_file_for_inference_alone_can_be_trained_on() -> None:
    source, target = tiny_detector("ms_detr"), tiny_detector("ms_detr", seed=1)
    done = adapt(target, inference_state(source))
    last = source.state_dict()["heads.class_heads.1.weight"]
    assert torch.equal(done.state["heads.class_heads.0.weight"], last)
    assert "heads.class_heads.0.weight of heads.class_heads.1.weight" in done.copied


def test_other_differences_are_refused_with_what_to_do() -> None:
    source = tiny_detector("dino").state_dict()
    with pytest.raises(ValueError, match=r"(?s)no difference of classes, queries.*init_allow_mismatch"):
        adapt(tiny_detector("dino", decoder__layer__ffn_dim=64), source)
    with pytest.raises(ValueError, match=r"decoder\.query_position\.mlp\.layers\.0\.weight: missing in the file"):
        adapt(tiny_detector("dino"), {key: value for key, value in source.items() if "query_position" not in key})
    with pytest.raises(ValueError, match="teapot: in the file but not in the model"):
        adapt(tiny_detector("dino"), {**source, "teapot": torch.zeros(1)})
    with pytest.raises(ValueError, match="no detector of this project"):
        adapt(tiny_detector("dino"), {"layer1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="2 class names were given, but the file's heads have 5 classes"):
        adapt(tiny_detector("dino"), source, source_classes=["a", "b"])


def test_masks_come_and_go() -> None:
    """A detector of boxes learns masks, and one of masks is trained on without them."""
    boxes, masks = tiny_detector("deformable_detr"), tiny_detector("mask_deformable_detr", seed=1)
    done = adapt(masks, boxes.state_dict())
    new = {key for key in masks.state_dict() if key.startswith("masks.")}
    assert set(done.fresh) == new
    assert all(torch.equal(done.state[key], value) for key, value in boxes.state_dict().items())
    back = adapt(boxes, masks.state_dict())
    assert set(back.dropped) == new
    assert all(torch.equal(value, masks.state_dict()[key]) for key, value in back.state.items())


def test_a_detector_without_boxes_changes_classes_queries_and_groups() -> None:
    source = tiny_detector("mask2former").state_dict()
    target = tiny_detector("group_mask2former", seed=1, num_classes=2, selection__selection__num_queries=9)
    done = adapt(target, source, source_classes=FIVE, target_classes=["cat", "bus"])
    own = target.state_dict()
    head = "heads.class_head.weight"
    assert torch.equal(done.state[head], torch.stack([source[head][4], own[head][1], source[head][5]]))
    for table in ("content", "position"):
        assert torch.equal(done.state[f"selection.{table}.weight"], source[f"selection.{table}.weight"][:9])
        extra = f"selection.extra_{table}s.0.weight"
        assert torch.equal(done.state[extra], own[extra])


def test_levels_of_a_masked_decoder_correspond_by_resolution() -> None:
    source = tiny_detector("mask2former").state_dict()
    target = tiny_detector("mask2former", seed=1, neck__num_levels=4)
    done = adapt(target, source)
    key = "decoder.level_embed.weight"
    assert torch.equal(done.state[key][:3], source[key])
    assert torch.equal(done.state[key][3], target.state_dict()[key][3])
