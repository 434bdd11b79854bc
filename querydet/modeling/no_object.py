"""Classification with "no object" as one more class, as in DETR (arXiv 2005.12872, section 3.1).

DETR's class head has K + 1 outputs with a softmax over them; all later papers have K outputs with a sigmoid each. A
softmax does not change when one number is subtracted from all of its inputs. So predictions hold K logits as everywhere
else, from each of which the output for no object is subtracted: `softmax([logits, 0])` is DETR's. (The sigmoid of such
a logit is the probability of the class where the only other choice is no object; evaluations without a softmax use it.)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.modeling.heads import PredictionHeads
from querydet.modeling.losses import class_of_queries
from querydet.modeling.masks.costs import PointMaskCost
from querydet.modeling.normalizers import WeightedQueries
from querydet.modeling.postprocess import TopKPostprocess, best_pairs
from querydet.ops.matching_cost import matching_cost
from querydet.structures import Branch, JoinedPredictions, MatchedPairs

SOFTMAX = "softmax"  # the trait `score_function` of parts that are made for such logits


def class_log_probabilities(logits: Tensor) -> Tensor:
    """Return log-probabilities (..., K + 1) of the classes and, at the end, of no object, from logits (..., K)."""
    return F.pad(logits, (0, 1)).log_softmax(-1)


class NoObjectHeads(PredictionHeads):
    """Heads with an output for no object, and the initial weights of torch's layers, as DETR has them.

    Args:
        num_classes: K; class heads have K + 1 outputs.
        num_layers, share_layers, inverse_sigmoid_eps, embed_dim, initial_size_logit, separate_one_to_many: see
            `querydet.modeling.heads.PredictionHeads`.
    """

    score_function = SOFTMAX

    def __init__(
        self,
        *,
        num_classes: int,
        num_layers: int,
        share_layers: bool,
        inverse_sigmoid_eps: float,
        embed_dim: int = 256,
        initial_size_logit: float = 0.0,
        separate_one_to_many: Sequence[str] = (),
    ) -> None:
        super().__init__(
            num_classes=num_classes + 1,
            num_layers=num_layers,
            share_layers=share_layers,
            inverse_sigmoid_eps=inverse_sigmoid_eps,
            embed_dim=embed_dim,
            initial_size_logit=initial_size_logit,
            separate_one_to_many=separate_one_to_many,
        )
        for heads in (self.class_heads, self.box_heads):
            for module in heads[0].modules():
                if isinstance(module, nn.Linear):
                    module.reset_parameters()
            for other in heads[1:]:
                other.load_state_dict(heads[0].state_dict())

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return super().num_classes - 1

    def classify(self, layer: int, hidden: Tensor, branch: Branch = Branch.ONE_TO_ONE) -> Tensor:
        """Return class logits (B, Q, K), less the output for no object, from the hidden states (B, Q, C) of a layer."""
        outputs = super().classify(layer, hidden, branch)
        return outputs[..., :-1] - outputs[..., -1:]


class SoftmaxLoss:
    """Cross-entropy over the K classes and no object, which is the class of unassigned queries and counts less.

    It is divided by the weight of all queries, not by the number of objects (released code): see
    `querydet.modeling.normalizers.WeightedQueries`.

    Args:
        weight: factor of the loss.
        background: weight of a query without an object; 0.1 in the paper.
    """

    score_function = SOFTMAX

    def __init__(self, *, weight: float, background: float = 0.1) -> None:
        self.weight, self.background = weight, background
        self.normalizer = WeightedQueries(background)

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each query (B, Q)."""
        labels = class_of_queries(predictions.logits, matched)
        loss = -class_log_probabilities(predictions.logits).gather(2, labels[..., None]).squeeze(2)
        return torch.where(labels == predictions.logits.shape[2], self.background * loss, loss)


class SoftmaxHungarianAssigner(HungarianAssigner):
    """The matching of DETR: the class cost is the negative probability of the class.

    Args:
        class_weight, l1_weight, giou_weight: weights of the costs; 1, 5, 2 in DETR.
        giou_eps, boxes, mask_cost: see `querydet.modeling.assigners.HungarianAssigner`.
    """

    score_function = SOFTMAX

    def __init__(
        self,
        *,
        class_weight: float = 1.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        giou_eps: float = 0.0,
        boxes: str = "predicted",
        mask_cost: PointMaskCost | None = None,
    ) -> None:
        super().__init__(
            class_weight=class_weight,
            l1_weight=l1_weight,
            giou_weight=giou_weight,
            giou_eps=giou_eps,
            boxes=boxes,
            mask_cost=mask_cost,
        )

    def cost(self, logits: Sequence[Tensor], boxes: Tensor, labels: Tensor, gt_boxes: Tensor) -> Tensor:
        """Compute costs (n, T, Q) of n sets for an image, see `querydet.modeling.assigners.HungarianAssigner.cost`."""
        probability = class_log_probabilities(torch.stack(list(logits))).exp()
        cost = probability.transpose(1, 2).index_select(1, labels) * -self.class_weight
        return matching_cost(cost, boxes, gt_boxes, self.l1_weight, self.giou_weight, self.giou_eps)


class SoftmaxPostprocess(TopKPostprocess):
    """Detects the queries with the most probable class, each with that class only.

    The probability of no object only lowers those of the classes: it is never the class of a detection.

    Args:
        num_detections: number of detections per image; 100 in DETR, one for each query.
        clip: see `querydet.modeling.postprocess.TopKPostprocess`.
    """

    score_function = SOFTMAX

    def __init__(self, *, num_detections: int = 100, clip: bool = True) -> None:
        super().__init__(num_detections=num_detections, clip=clip)

    def select(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Select the n = min(num_detections, Q) best queries; see `TopKPostprocess.select`."""
        scores, classes = class_log_probabilities(logits)[..., :-1].max(-1)
        scores, index = scores.exp().topk(min(self.num_detections, scores.shape[1]), dim=1)
        boxes_xyxy = cxcywh_to_xyxy(boxes).gather(1, index[..., None].expand(-1, -1, 4))
        return scores, boxes_xyxy, classes.gather(1, index), index


class SoftmaxPairsPostprocess(TopKPostprocess):
    """Detects the (query, class) pairs with the highest probabilities (Mask2Former, instance segmentation).

    One query may give several detections of different classes.

    Args:
        num_detections: number of detections per image; 100 in Mask2Former.
        clip: see `querydet.modeling.postprocess.TopKPostprocess`.
    """

    score_function = SOFTMAX

    def __init__(self, *, num_detections: int = 100, clip: bool = True) -> None:
        super().__init__(num_detections=num_detections, clip=clip)

    def select(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Select the n best pairs; see `TopKPostprocess.select`."""
        return best_pairs(class_log_probabilities(logits)[..., :-1].exp(), boxes, self.num_detections)
