"""The denoising queries that are drawn are those that training computes with."""

import pytest
import torch

from querydet.modeling.targets import make_targets
from querydet.structures import Role
from querydet.visualization.denoising_pictures import (
    NEGATIVE,
    POSITIVE,
    denoising_panels,
    denoising_queries,
    draw_denoising,
)
from tests.models import make_inputs, tiny_detector

NAMES = [f"class {index}" for index in range(5)]


def training_queries(model, inputs):
    """The denoising group and its boxes, as the detector makes them."""
    targets = make_targets(inputs, model.num_classes, model.device)
    made = model.denoising(targets)[0]
    assert made.group.role is Role.DENOISING
    return made, targets


@pytest.mark.parametrize("name", ["dino", "group_dino", "dn_detr"])
def test_queries_are_those_of_a_training_step(name):
    model = tiny_detector(name)
    inputs = make_inputs([(64, 96), (64, 64)], [1, 3])
    made, _ = training_queries(model, inputs)
    for image, found in enumerate(denoising_queries(model, inputs)):
        known = made.group.known[image]
        assert torch.equal(found.objects[found.positive], known.objects)
        assert torch.equal(found.boxes[found.positive], made.boxes[image, known.queries])
        assert len(found.boxes) == len(known.queries) * (1 if name == "dn_detr" else 2)
        assert found.repetitions == made.group.blocks[image].count


def test_a_negative_is_further_from_its_object_than_the_positive_of_its_pair_can_be():
    model = tiny_detector("dino", denoising__groups__num_queries=40)
    inputs = make_inputs([(64, 96)], [2])
    _, targets = training_queries(model, inputs)
    (found,) = denoising_queries(model, inputs)
    truth = targets.boxes[0][found.objects]
    # DINO: a positive's corners move by less than half the object's size, those of a negative by more
    low, high = found.boxes[:, :2] - found.boxes[:, 2:] / 2, truth[:, :2] - truth[:, 2:] / 2
    moved = (low - high).abs() / (truth[:, 2:] / 2)
    # what was clipped to the image moved less; a box that was turned inside out has no corners any more
    inside = (low > 0.01) & (low < 0.99) & (found.boxes[:, 2:] > 0.01)
    assert (moved[found.positive] < 1.01).all()
    assert inside[~found.positive].sum() > 5
    assert (moved[~found.positive][inside[~found.positive]] > 0.99).all()
    pairs = {(int(o), int(r)) for o, r in zip(found.objects, found.repetition, strict=True)}
    assert len(pairs) * 2 == len(found.boxes)


def test_labels_are_those_of_the_contents():
    for noise, changed in ((0.0, False), (1.0, True)):
        model = tiny_detector("dn_detr", denoising__label_noise=noise, denoising__groups__num_groups=30)
        inputs = make_inputs([(64, 96)], [2])
        (found,) = denoising_queries(model, inputs)
        same = found.labels == inputs[0]["instances"].gt_classes[found.objects]
        assert bool(same.all()) is not changed
        assert 0 <= int(found.labels.min()) <= int(found.labels.max()) < 5


def test_positives_and_negatives_have_their_colours():
    model = tiny_detector("dino", denoising__label_noise=0.0)
    inputs = make_inputs([(120, 160)], [1])
    inputs[0]["image"].fill_(128)
    (found,) = denoising_queries(model, inputs)
    image = inputs[0]["image"].permute(1, 2, 0).numpy()
    both = draw_denoising(image, inputs[0]["instances"], found, 0, NAMES).astype(float) / 255
    for color in (POSITIVE, NEGATIVE):
        assert (abs(both - color).sum(-1) < 0.1).sum() > 50
    (panel, *_) = panels = denoising_panels(model, inputs, NAMES, repetitions=2, objects=[0])
    assert len(panels) == 2
    assert panel.title == f"image ?: repetition 1 of {found.repetitions}"


def test_images_without_objects_and_models_without_denoising():
    model = tiny_detector("dino")
    inputs = make_inputs([(64, 64), (64, 64)], [0, 2])
    empty, full = denoising_queries(model, inputs)
    assert (empty.repetitions, len(empty.boxes)) == (0, 0)
    assert full.repetitions > 0
    assert "no objects" in denoising_panels(model, inputs, NAMES)[0].title
    assert denoising_queries(model, inputs[:1])[0].repetitions == 0
    with pytest.raises(ValueError, match=r"no object 2: the most crowded of these images has 2"):
        denoising_panels(model, inputs, NAMES, objects=[2])
    with pytest.raises(ValueError, match=r"no denoising queries \(model\.denoising"):
        denoising_queries(tiny_detector("deta"), inputs)
