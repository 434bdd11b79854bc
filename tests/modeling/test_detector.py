"""Properties of the whole detector, for every shipped composition."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.selection import anchor_tokens
from querydet.structures import ObjectCount, Role, Stage
from tests.models import COMPOSITIONS, make_inputs, make_targets, tiny_config, tiny_detector


def losses_of(detector: QueryDetector, inputs: list[dict]) -> dict[str, Tensor]:
    losses = detector.train()(inputs)
    assert isinstance(losses, dict)
    return losses


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    detector = tiny_detector(name)
    losses = losses_of(detector, make_inputs([(96, 128), (80, 64)], [3, 1]))
    sum(losses.values()).backward()
    for parameter_name, parameter in detector.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_images_without_objects_train(name: str) -> None:
    detector = tiny_detector(name)
    for counts in ([0, 0], [0, 2]):
        losses = losses_of(detector, make_inputs([(96, 128), (80, 64)], counts))
        assert all(value.isfinite() for value in losses.values())
        detector.zero_grad()
        sum(losses.values()).backward()
        assert all(parameter.grad is not None for parameter in detector.parameters())


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_inference_gives_clipped_detections_in_the_size_asked_for(name: str) -> None:
    detector = tiny_detector(name).eval()
    inputs = make_inputs([(96, 128), (80, 64)])
    inputs[0].update(height=48, width=256)
    with torch.no_grad():
        first, second = (each["instances"] for each in detector(inputs))
    assert first.image_size == (48, 256)
    assert second.image_size == (80, 64)
    for instances, (height, width) in ((first, (48, 256)), (second, (80, 64))):
        boxes = instances.pred_boxes.tensor
        assert len(instances) > 0
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()
        assert (instances.scores.diff() <= 0).all()


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_more_objects_than_queries(name: str) -> None:
    losses = losses_of(tiny_detector(name), make_inputs([(96, 128)], [30]))
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.parametrize("num_classes", [1, 1203])
def test_one_class_and_many(name: str, num_classes: int) -> None:
    detector = tiny_detector(name, num_classes=num_classes)
    for counts in ([3], [0]):
        losses = losses_of(detector, make_inputs([(96, 128)], counts, num_classes))
        assert all(value.isfinite() for value in losses.values())
    with torch.no_grad():
        (found,) = detector.eval()(make_inputs([(96, 128)]))
    assert len(found["instances"]) > 0


@pytest.mark.parametrize("name", ["dino", "dn_detr", "dn_dab_detr"])
def test_denoising_queries_do_not_influence_matching_queries(name: str) -> None:
    detector = tiny_detector(name).train()
    inputs = make_inputs([(96, 128), (96, 128)])
    images = detector.preprocess(inputs)
    features, padding = detector.backbone(images.tensor), padding_mask(images)

    targets = make_targets([3, 2])
    predictions = detector.predict(features, padding, targets)
    primary = [each for each in predictions if each.group.role is Role.MATCHING and each.stage is Stage.DECODER]
    sum(each.logits.sum() + each.boxes.sum() for each in primary).backward()
    assert detector.denoising.label_embed.weight.grad is None or not detector.denoising.label_embed.weight.grad.any()

    other = detector.predict(features, padding, replace(targets, seeds=(8, 9)))
    alone = detector.predict(features, padding, None)
    torch.testing.assert_close(other[-1].logits, predictions[-1].logits, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(alone[-1].logits, predictions[-1].logits, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["dino", "dn_detr", "dn_dab_detr"])
def test_denoising_groups_do_not_influence_each_other(name: str) -> None:
    detector = tiny_detector(name).train()
    images = detector.preprocess(make_inputs([(96, 128)]))
    memory = detector.encoder(detector.neck(detector.backbone(images.tensor), padding_mask(images)))
    queries = detector.compose_queries(detector.selection(memory, training=True), make_targets([2]))
    content = queries.content.detach().requires_grad_()
    outputs = detector.decoder(replace(queries, content=content), memory, detector.heads)
    group = queries.groups[0]
    assert group.blocks is not None
    (blocks,) = group.blocks
    assert len(group) == blocks.count * blocks.size
    assert blocks.count >= 2
    outputs[-1].hidden[:, : blocks.size].sum().backward()
    reached = content.grad.abs().sum(-1)[0] > 0
    assert reached[: blocks.size].all()
    assert not reached[blocks.size : len(group)].any()
    assert reached[len(group) :].all()


def test_permuting_the_images_permutes_the_losses_away() -> None:
    detector = tiny_detector()
    inputs = make_inputs([(96, 128), (96, 128)], [3, 1])
    first, second = losses_of(detector, inputs), losses_of(detector, inputs[::-1])
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-4, msg=name)


def test_activation_checkpointing_changes_neither_losses_nor_gradients() -> None:
    inputs = make_inputs([(96, 128)], [3])
    results = []
    for recompute in (False, True):
        detector = tiny_detector(
            encoder__activation_checkpointing=recompute, decoder__activation_checkpointing=recompute
        )
        losses = losses_of(detector, inputs)
        sum(losses.values()).backward()
        results.append((losses, [parameter.grad for parameter in detector.parameters()]))
    (losses, grads), (other_losses, other_grads) = results
    for name, value in losses.items():
        torch.testing.assert_close(other_losses[name], value)
    for grad, other in zip(grads, other_grads, strict=True):
        torch.testing.assert_close(other, grad)


def test_the_same_inputs_give_the_same_losses_bit_for_bit() -> None:
    inputs = make_inputs([(96, 128), (80, 64)], [3, 1])
    first, second = (losses_of(tiny_detector(), inputs) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_encoders_heads_start_as_copies_of_the_decoders() -> None:
    detector = instantiate(tiny_config("dino"))
    assert torch.equal(detector.heads.class_heads[0].weight, detector.selection.proposals.class_head.weight)
    first, second = detector.heads.box_heads[0].layers[0], detector.selection.proposals.box_head.layers[0]
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_dropout_acts_in_training_alone(part: str) -> None:
    inputs = make_inputs([(96, 128)], [3])
    detector = tiny_detector("deformable_detr", **{f"{part}__layer__dropout": 0.5})
    first, second = (losses_of(detector, inputs)["loss_class"] for _ in range(2))
    assert first != second
    detector.eval()
    with torch.no_grad():
        found = [detector(inputs)[0]["instances"].scores for _ in range(2)]
    assert torch.equal(*found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_losses_on_the_gpu_are_those_of_the_cpu(name: str) -> None:
    inputs = make_inputs([(96, 128), (80, 64)], [3, 1])
    detector = tiny_detector(name)
    on_cpu = losses_of(detector, inputs)
    on_gpu = losses_of(detector.cuda(), inputs)
    for loss_name, value in on_cpu.items():
        torch.testing.assert_close(on_gpu[loss_name].cpu(), value, atol=1e-3, rtol=1e-3, msg=loss_name)


def test_weights_that_are_not_finite_stop_the_step_with_a_name() -> None:
    detector = tiny_detector()
    with torch.no_grad():
        detector.decoder.layers[1].ffn.linear2.bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"decoder layer 1 \((denoising|primary) queries\) in image0.jpg"):
        losses_of(detector, make_inputs([(96, 128)], [2]))

    detector.eval()
    with pytest.raises(FloatingPointError, match=r"decoder layer 1 \(primary queries\) in image1.jpg"), torch.no_grad():
        detector(make_inputs([(96, 128), (96, 128)]))


def test_an_image_with_fewer_usable_tokens_than_queries_gets_the_rest_as_whole_images() -> None:
    detector = tiny_detector(selection__num_queries=100).eval()
    images = detector.preprocess(make_inputs([(64, 64), (256, 256)]))
    features = detector.neck(detector.backbone(images.tensor), padding_mask(images))
    (queries,) = detector.selection(detector.encoder(features), training=False)
    whole = (queries.boxes == 1).all(-1).sum(1)
    usable = detector.selection.proposals(anchor_tokens(features)).usable.sum(1)
    assert whole.tolist() == [max(100 - int(usable[0]), 0), 0]
    assert whole[0] > 0


def test_too_few_tokens_for_the_queries() -> None:
    with pytest.raises(ValueError, match="fewer than the 500 queries to select"):
        tiny_detector(selection__num_queries=500).eval()(make_inputs([(96, 128)]))


def test_losses_are_divided_by_the_objects_of_the_whole_step() -> None:
    detector, inputs = tiny_detector("dab_deformable_detr").train(), make_inputs([(96, 128), (80, 64)], [3, 1])
    alone, same = detector(inputs), detector(inputs, ObjectCount((3, 1)))
    third = detector(inputs, ObjectCount((3, 1, 44), num_micro_batches=4))
    for name, value in alone.items():
        assert torch.equal(same[name], value), name
        torch.testing.assert_close(third[name] * 3, value, msg=name)
