"""DETR's classification beside torch's cross-entropy over K + 1 outputs."""

import torch
import torch.nn.functional as F

from querydet.export.detections import fixed_size_detections
from querydet.modeling.assigners.host import assign_all
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.joining import join
from querydet.modeling.no_object import (
    NoObjectHeads,
    SoftmaxHungarianAssigner,
    SoftmaxLoss,
    SoftmaxPostprocess,
    class_log_probabilities,
)
from tests.models import make_predictions, make_targets


def made(**changes):
    """Predictions of two images, 9 queries and 5 classes, and 4 objects."""
    return make_predictions(2, 9, **changes), make_targets([3, 1])


def test_logits_are_those_of_the_classes_less_that_of_no_object():
    heads = NoObjectHeads(num_classes=5, num_layers=2, share_layers=True, inverse_sigmoid_eps=1e-5, embed_dim=8)
    hidden = torch.randn(2, 3, 8)
    outputs = heads.class_heads[0](hidden)
    assert heads.num_classes == 5
    assert outputs.shape[-1] == 6
    logits = heads.classify(0, hidden)
    torch.testing.assert_close(class_log_probabilities(logits), outputs.log_softmax(-1))


def test_heads_start_from_torchs_own_weights():
    torch.manual_seed(0)
    heads = NoObjectHeads(num_classes=5, num_layers=2, share_layers=False, inverse_sigmoid_eps=1e-5, embed_dim=64)
    assert heads.class_heads[0].bias.abs().max() < 0.2  # no prior
    assert heads.box_heads[0].layers[2].weight.abs().max() > 0.01
    assert torch.equal(heads.class_heads[0].weight, heads.class_heads[1].weight)
    assert torch.equal(heads.box_heads[0].layers[0].weight, heads.box_heads[1].layers[0].weight)


def test_the_loss_is_the_weighted_cross_entropy_of_the_released_code():
    predictions, targets = made()
    assigner = SoftmaxHungarianAssigner()
    rule = SupervisionRule(
        stage="decoder", assigner=assigner, losses={"class": SoftmaxLoss(weight=1.0, background=0.1)}
    )
    (loss,) = rule([predictions], targets).values()
    ((assigned,),) = assign_all([rule.request([predictions], targets)])
    classes = torch.full((2, 9), 5)
    for image, pairs in enumerate(assigned):
        classes[image, pairs.queries] = targets.labels[image][pairs.objects]
    outputs = F.pad(predictions.logits, (0, 1)) + torch.randn(2, 9, 1)  # a softmax does not see what is added to all
    weight = torch.tensor([1.0] * 5 + [0.1])
    torch.testing.assert_close(loss, F.cross_entropy(outputs.transpose(1, 2), classes, weight))


def test_queries_without_an_object_count_less():
    predictions, targets = made()
    rule = SupervisionRule(
        stage="decoder", assigner=SoftmaxHungarianAssigner(), losses={"class": SoftmaxLoss(weight=1.0)}
    )
    joined, pairs = join([predictions], assign_all([rule.request([predictions], targets)])[0], targets)
    plain = SoftmaxLoss(weight=1.0)(joined, pairs)
    nothing = [query for query in range(9) if query not in pairs.query[pairs.image == 0].tolist()]
    wanted = -0.1 * class_log_probabilities(predictions.logits)[0, nothing, -1]
    torch.testing.assert_close(plain[0, nothing], wanted)


def test_the_matching_minimises_the_cost_of_the_released_code():
    predictions, targets = made()
    assigner = SoftmaxHungarianAssigner(class_weight=1.0, l1_weight=0.0, giou_weight=0.0)
    cost = assigner.cost([predictions.logits[0]], predictions.boxes[:1], targets.labels[0], targets.boxes[0])
    probability = F.pad(predictions.logits[0], (0, 1)).softmax(-1)
    torch.testing.assert_close(cost[0], -probability[:, targets.labels[0]].T)


def test_each_query_is_detected_once_by_its_most_probable_class():
    predictions, _ = made()
    postprocess = SoftmaxPostprocess(num_detections=4, clip=False)
    found = postprocess(predictions.logits, predictions.boxes, [(100, 200)] * 2)
    probability = F.pad(predictions.logits, (0, 1)).softmax(-1)[..., :-1]
    for image, instances in enumerate(found):
        scores, classes = probability[image].max(-1)
        order = scores.argsort(descending=True)[:4]
        torch.testing.assert_close(instances.scores, scores[order])
        assert torch.equal(instances.pred_classes, classes[order])
    exported = fixed_size_detections(postprocess, predictions.logits, predictions.boxes)
    torch.testing.assert_close(exported.scores[0], found[0].scores)
    assert torch.equal(exported.labels[0], found[0].pred_classes)
