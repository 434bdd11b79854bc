"""DAC-DETR's second stream: what it reads, that it only adds, and that it combines with other parts."""

from typing import Any

import pytest
import torch
from detectron2.config import LazyCall as L
from torch import Tensor

from querydet.modeling.decoder import SecondStream
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.structures import Branch, DecoderLayerOutput, PredictionSet, Stage
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector

CROSS_FIRST = {"decoder__layer__order": ["cross_attention", "self_attention", "ffn"]}


def outputs_of(
    detector: QueryDetector, training: bool = True, disturbed: int | None = None
) -> tuple[DecoderLayerOutput, ...]:
    """What the layers of a detector in evaluation return for two images, of which one query may be disturbed."""
    images = detector.eval().preprocess(make_inputs([(96, 128), (80, 64)]))
    memory = detector.encoder(detector.neck(detector.backbone(images.tensor), padding_mask(images)))
    queries = detector.compose_queries(detector.selection(memory, training=False), None)
    if disturbed is not None:
        queries.content[:, disturbed] += 1
    return detector.decoder(queries, memory, detector.heads, one_to_many=training)


def second(outputs: tuple[DecoderLayerOutput, ...]) -> list[Tensor]:
    return [each.second_stream.hidden for each in outputs if each.second_stream is not None]


def disturb(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, CROSS_FIRST])
def test_it_reads_self_attention_in_the_first_layer_at_most(changes: dict[str, Any]) -> None:
    detector = tiny_detector("dac_detr_plain", decoder__num_layers=3, **changes)
    before = outputs_of(detector)
    for layer in detector.decoder.layers[1:]:
        disturb(layer.self_attention)
        disturb(layer.self_attention_norm)
    after = outputs_of(detector)
    assert all(map(torch.equal, second(before), second(after)))
    assert not torch.equal(before[1].hidden, after[1].hidden)
    disturb(detector.decoder.layers[0].self_attention)
    reads = not torch.equal(second(after)[0], second(outputs_of(detector))[0])
    assert reads is not bool(changes), "with the self-attention first it starts behind it"


@torch.no_grad()
def test_its_queries_do_not_see_each_other() -> None:
    detector = tiny_detector("dac_detr_plain", **CROSS_FIRST)
    before, after = outputs_of(detector), outputs_of(detector, disturbed=2)
    unchanged = [(mine == other).all(-1) for mine, other in zip(second(before), second(after), strict=True)]
    for rows in unchanged:
        assert not rows[:, 2].any()
        assert rows[:, [0, 1, *range(3, 12)]].all()
    assert not (before[0].hidden == after[0].hidden).all(-1).any(), "in the ordinary stream they do"


@torch.no_grad()
def test_inference_is_that_of_a_detector_without_it() -> None:
    detector = tiny_detector("dac_detr_plain").eval()
    without = tiny_detector("deformable_detr").eval()
    without.load_state_dict(detector.state_dict())
    inputs = make_inputs([(96, 128), (80, 64)])
    for mine, other in zip(detector(inputs), without(inputs), strict=True):
        assert torch.equal(mine["instances"].pred_boxes.tensor, other["instances"].pred_boxes.tensor)
        assert torch.equal(mine["instances"].scores, other["instances"].scores)
    assert not second(outputs_of(detector, training=False))


@torch.no_grad()
def test_the_ordinary_stream_is_what_it_is_without_the_second() -> None:
    detector = tiny_detector("dac_detr_plain")
    for mine, alone in zip(outputs_of(detector), outputs_of(detector, training=False), strict=True):
        torch.testing.assert_close(mine.hidden, alone.hidden, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine.base_boxes, alone.base_boxes, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_layers_are_called_so_that_hooks_see_them() -> None:
    """Sharding collects a layer's parameters in a hook."""
    detector, seen = tiny_detector("dac_detr_plain"), []
    for index, layer in enumerate(detector.decoder.layers):
        layer.register_forward_pre_hook(lambda _, inputs, index=index: seen.append((index, inputs[0].shape[1])))
    outputs_of(detector)
    assert seen == [(0, 24), (1, 24)], "both streams of 12 queries at once"


@torch.no_grad()
def test_it_refines_boxes_of_its_own_from_the_same_start() -> None:
    first, _, last = outputs_of(tiny_detector("dac_detr_plain", decoder__num_layers=3))
    assert torch.equal(first.reference_boxes, first.second_stream.reference_boxes)
    assert not torch.equal(last.reference_boxes, last.second_stream.reference_boxes)


def predictions_of(detector: QueryDetector) -> list[PredictionSet]:
    images = detector.preprocess(make_inputs([(96, 128), (80, 64)]))
    targets = make_targets([3, 1])
    return list(detector.train().predict(detector.backbone(images.tensor), padding_mask(images), targets))


def test_every_group_predicts_in_both_streams_beside_each_other() -> None:
    found = [each for each in predictions_of(tiny_detector("dac_detr")) if each.stage is Stage.DECODER]
    ordinary = [each for each in found if each.branch is Branch.ONE_TO_ONE]
    others = [each for each in found if each.branch is Branch.SECOND_STREAM]
    assert [each.group.name for each in ordinary] == [each.group.name for each in others]
    assert len({each.group.name for each in others}) == 2, "denoising and matching queries"
    for each, beside in zip(others, ordinary, strict=True):
        assert each.one_to_one is not None
        assert torch.equal(each.one_to_one.boxes, beside.boxes)
    suffixes = {each.suffix for each in others}
    assert suffixes == {"_stream2", "_stream2_0", "_dn_stream2", "_dn_stream2_0"}


@pytest.mark.parametrize("name", ["dac_detr", "ms_dac_detr"])
def test_recomputing_activations_changes_nothing(name: str) -> None:
    gradients = []
    for recompute in (False, True):
        detector = tiny_detector(name, decoder__activation_checkpointing=recompute).train()
        sum(detector(make_inputs([(96, 128), (80, 64)], [3, 1])).values()).backward()
        gradients.append([parameter.grad for parameter in detector.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["dab_detr", "conditional_detr", "detr", "group_dino", "h_detr", "dn_detr"])
def test_it_combines_with_any_decoder_and_any_groups(name: str) -> None:

    config = tiny_config(name)
    rules = config.criterion.rules
    for rule_name in [key for key in rules if key in ("decoder", "denoising")]:
        rules[f"second_{rule_name}"] = {**rules[rule_name], "branch": "second_stream"}
    detector = tiny_detector(name, decoder__second_stream=L(SecondStream)(), criterion__rules=rules).train()
    for counts in ([3, 1], [0, 0]):
        detector.zero_grad()
        losses = detector(make_inputs([(96, 128), (80, 64)], counts))
        sum(losses.values()).backward()
        assert any("stream2" in key for key in losses)
        assert all(value.isfinite() for value in losses.values())
        assert all(parameter.grad is not None for parameter in detector.parameters())


def test_both_branches_together_take_their_own_rules() -> None:
    losses = tiny_detector("ms_dac_detr").train()(make_inputs([(96, 128)], [3]))
    assert {"loss_class", "loss_class_o2m", "loss_class_stream2"} <= set(losses)


@pytest.mark.parametrize("changes", [{}, CROSS_FIRST])
def test_its_losses_train_no_self_attention_behind_the_first_layer(changes: dict[str, Any]) -> None:
    detector = tiny_detector("dac_detr_plain", decoder__num_layers=3, heads__num_layers=3, **changes).train()
    losses = detector(make_inputs([(96, 128), (80, 64)], [3, 1]))
    sum(value for name, value in losses.items() if "stream2" in name).backward()
    trained = [
        any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.self_attention.parameters())
        for layer in detector.decoder.layers
    ]
    assert trained == [not changes, False, False]
    for layer in detector.decoder.layers:
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.ffn.parameters())
