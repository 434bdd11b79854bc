"""Ensembles of views by hand."""

import pytest
import torch
from detectron2.structures import Instances

from querydet.evaluation import NMSEnsemble, OneToOneEnsemble
from querydet.evaluation.ensemble import default_ensemble
from querydet.utils.run_lengths import encode_masks
from tests.evaluation.hand_made import detections
from tests.models import tiny_detector

MAIN = detections([[0, 0, 10, 10]], [0.9])
SHIFTED = detections([[1, 1, 11, 11]], [0.8])  # IoU 81 / 119 = 0.681


def boxes(instances):
    return instances.pred_boxes.tensor.flatten().tolist()


def test_literal_and_normalised_forms():
    literal = OneToOneEnsemble(iou_threshold=0.6, normalised=False)([MAIN, SHIFTED])
    assert boxes(literal) == pytest.approx([0.4, 0.4, 8.9, 8.9])
    normalised = OneToOneEnsemble(iou_threshold=0.6)([MAIN, SHIFTED])
    assert boxes(normalised) == pytest.approx([0.8 / 1.7, 0.8 / 1.7, 10 + 0.8 / 1.7, 10 + 0.8 / 1.7])
    for each in (literal, normalised):
        assert each.scores.tolist() == MAIN.scores.tolist()
        assert each.pred_classes.tolist() == [0]


def test_a_partner_has_to_overlap_by_more_and_be_of_the_same_class():
    assert boxes(OneToOneEnsemble(iou_threshold=0.7)([MAIN, SHIFTED])) == pytest.approx([0, 0, 10, 10])
    other = detections([[1, 1, 11, 11]], [0.8], [1])
    assert boxes(OneToOneEnsemble(iou_threshold=0.6)([MAIN, other])) == pytest.approx([0, 0, 10, 10])
    assert boxes(OneToOneEnsemble(iou_threshold=0.6, normalised=False)([MAIN, other])) == pytest.approx([0, 0, 9, 9])
    half = detections([[0, 0, 10, 5]], [0.5])
    assert boxes(OneToOneEnsemble(iou_threshold=0.5)([MAIN, half])) == pytest.approx([0, 0, 10, 10])  # equal: no


def test_weights_and_a_third_view_without_a_partner():
    ensemble = OneToOneEnsemble(iou_threshold=0.6, weights=[1, 2, 5])
    merged = ensemble([MAIN, SHIFTED, detections([], [])])
    shift = 1.6 / (0.9 + 1.6)
    assert boxes(merged) == pytest.approx([shift, shift, 10 + shift, 10 + shift])
    with pytest.raises(ValueError, match="there are 2 views and 3 weights"):
        ensemble([MAIN, SHIFTED])
    with pytest.raises(ValueError, match="weights must be positive"):
        OneToOneEnsemble(weights=[1, 0])


def test_the_main_view_decides_what_there_is_and_partners_may_serve_several():
    main = detections([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]], [0.5, 0.4, 0.3])
    view = detections([[0, 0, 10, 10], [0, 0, 10, 10], [80, 80, 90, 90]], [0.5, 0.1, 0.9])
    merged = OneToOneEnsemble(iou_threshold=0.6)([main, view])
    found = merged.pred_boxes.tensor.tolist()
    assert found[0] == pytest.approx([0, 0, 10, 10])
    assert found[1] == pytest.approx([0, 0, 10, (0.4 * 9 + 0.5 * 10) / 0.9])  # of equal partners the first one
    assert found[2] == pytest.approx([50, 50, 60, 60])
    assert len(OneToOneEnsemble()([detections([], []), view])) == 0
    zero = detections([[1, 2, 3, 4]], [0.0])
    assert boxes(OneToOneEnsemble()([zero, zero])) == pytest.approx([1, 2, 3, 4])


def test_suppression_keeps_the_best_of_all_views():
    first = detections([[0, 0, 10, 10], [50, 50, 60, 60]], [0.5, 0.4], [0, 1])
    second = detections([[0, 0, 10, 10], [80, 80, 90, 90], [0, 0, 10, 10]], [0.9, 0.3, 0.2], [0, 1, 2])
    merged = NMSEnsemble()([first, second])
    assert merged.scores.tolist() == pytest.approx([0.9, 0.4, 0.3, 0.2])
    assert merged.pred_classes.tolist() == [0, 1, 1, 2]
    assert len(NMSEnsemble(num_detections=2)([first, second])) == 2
    assert len(NMSEnsemble()([detections([], [])])) == 0


def test_views_of_other_images_are_refused():
    for ensemble in (OneToOneEnsemble(), NMSEnsemble()):
        with pytest.raises(ValueError, match="found no views"):
            ensemble([])
        with pytest.raises(ValueError, match=r"sizes \[\(50, 50\), \(100, 200\)\]"):
            ensemble([MAIN, detections([], [], size=(50, 50))])


def test_the_ensemble_fits_the_model():
    deta = default_ensemble(tiny_detector("deta"))
    assert isinstance(deta, NMSEnsemble)
    assert (deta.num_detections, deta.nms_threshold) == (100, 0.7)
    assert isinstance(default_ensemble(tiny_detector("dino")), OneToOneEnsemble)


@pytest.mark.parametrize("ensemble", [OneToOneEnsemble(), NMSEnsemble()])
@pytest.mark.parametrize("field", ["pred_masks", "pred_masks_rle"])
def test_masks_are_not_lost_in_silence(ensemble, field):
    masks = torch.zeros(1, *MAIN.image_size, dtype=torch.bool)
    with_masks = Instances(MAIN.image_size, **SHIFTED.get_fields())
    with_masks.set(field, masks if field == "pred_masks" else encode_masks(masks))
    with pytest.raises(ValueError, match=r"no rule for masks.*train\.test_time_augmentation\.enabled=False"):
        ensemble([MAIN, with_masks])
