"""Prediction heads: class logits and box refinement from the hidden states of queries."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision, in_full_precision, refine_boxes
from querydet.modeling.layers import MLP
from querydet.structures import Branch, BranchInput, DecoderLayerOutput, PredictionSet, QueryGroup, Stage

PRIOR_PROBABILITY = 0.01  # of every class before training: focal loss, arXiv 1708.02002, section 4.1


def make_class_head(embed_dim: int, num_classes: int) -> nn.Linear:
    """A linear classifier that starts at :data:`PRIOR_PROBABILITY`."""
    head = nn.Linear(embed_dim, num_classes)
    nn.init.constant_(head.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
    return head


def make_box_head(embed_dim: int, initial_size_logit: float = 0.0) -> MLP:
    """A three-layer box regressor that starts by moving nothing.

    Args:
        embed_dim: width C.
        initial_size_logit: first output for width and height. -2 where references carry no size (Deformable DETR
            without two stages), so that boxes start small.
    """
    head = MLP(embed_dim, embed_dim, 4, num_layers=3)
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    nn.init.constant_(last.bias[2:], initial_size_logit)
    return head


class PredictionHeads(nn.Module):
    """Class and box heads of the decoder layers.

    Args:
        embed_dim: width C.
        num_classes: K.
        num_layers: number of decoder layers.
        share_layers: one pair of heads for all layers (DINO, official 4-scale configuration) or one for each.
        inverse_sigmoid_eps: see `querydet.modeling.boxes.inverse_sigmoid`.
        initial_size_logit: see `make_box_head`; of the first layer's head only.
        separate_one_to_many: kinds of heads that the one-to-many branch has of its own, any of "class" and "box"; they
            start as copies (MS-DETR, table 6; sharing both is best).

    Raises:
        ValueError: for an unknown kind of head.
    """

    score_function = "sigmoid"

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
        super().__init__()
        if set(separate_one_to_many) - {"class", "box"}:
            raise ValueError(f"separate_one_to_many may hold 'class' and 'box', found {list(separate_one_to_many)}")
        copies = 1 if share_layers else num_layers
        self.num_layers, self.embed_dim = num_layers, embed_dim
        self.inverse_sigmoid_eps = inverse_sigmoid_eps
        self.separate_one_to_many = tuple(separate_one_to_many)
        self.class_heads = nn.ModuleList(make_class_head(embed_dim, num_classes) for _ in range(copies))
        self.box_heads = nn.ModuleList(
            make_box_head(embed_dim, initial_size_logit if layer == 0 else 0.0) for layer in range(copies)
        )
        self._start_equal()
        separate = {kind: getattr(self, f"{kind}_heads") for kind in separate_one_to_many}
        self.one_to_many_heads = nn.ModuleDict({kind: copy.deepcopy(heads) for kind, heads in separate.items()})

    def _start_equal(self) -> None:
        """Let the heads of all layers start from the same weights, as the released code does by deep copies."""
        for head in self.class_heads[1:]:
            head.load_state_dict(self.class_heads[0].state_dict())
        first = self.box_heads[0].state_dict()
        for head in self.box_heads[1:]:
            last = head.state_dict()  # starts at zero, or at a size that is the first layer's alone
            head.load_state_dict({name: last[name] if name.startswith("layers.2") else first[name] for name in first})

    @property
    def training_only(self) -> tuple[str, ...]:
        """Inference classifies after the last layer only, and never one to many."""
        return ("one_to_many_heads", *(f"class_heads.{layer}" for layer in range(len(self.class_heads) - 1)))

    @property
    def num_classes(self) -> int:
        """K."""
        head = self.class_heads[0]
        assert isinstance(head, nn.Linear)
        return head.out_features

    def first_heads(self) -> tuple[nn.Module, nn.Module]:
        """Return the class and box head of the last layer, whose initial weights proposal heads start from."""
        return self.class_heads[-1], self.box_heads[-1]

    def refine(self, layer: int, hidden: Tensor, reference: Tensor, branch: Branch = Branch.ONE_TO_ONE) -> Tensor:
        """Return the boxes (B, Q, 4) of a layer from its references (B, Q, 4 or 2), at least float32."""
        deltas = in_full_precision(self._head("box", layer, branch), hidden)
        return refine_boxes(deltas, full_precision(reference), self.inverse_sigmoid_eps)

    def classify(self, layer: int, hidden: Tensor, branch: Branch = Branch.ONE_TO_ONE) -> Tensor:
        """Return the class logits (B, Q, K) of a layer, at least float32."""
        return in_full_precision(self._head("class", layer, branch), hidden)

    def _head(self, kind: str, layer: int, branch: Branch) -> nn.Module:
        heads: nn.Module = self.class_heads if kind == "class" else self.box_heads
        if branch is Branch.ONE_TO_MANY and kind in self.one_to_many_heads:
            heads = self.one_to_many_heads[kind]
        assert isinstance(heads, nn.ModuleList)
        return heads[layer % len(heads)]

    def forward(
        self, outputs: tuple[DecoderLayerOutput, ...], groups: tuple[QueryGroup, ...], last_only: bool
    ) -> tuple[PredictionSet, ...]:
        """Predict for every group after every layer, or after the last layer only."""
        last = len(outputs) - 1
        predictions: list[PredictionSet] = []
        for layer in range(last if last_only else 0, len(outputs)):
            main = list(self._predict(layer, BranchInput(outputs[layer].hidden, groups), outputs))
            predictions += main
            one_to_many = outputs[layer].one_to_many
            if one_to_many is not None:
                predictions += self._predict(layer, one_to_many, outputs, {group.group.name: group for group in main})
        return tuple(predictions)

    def _predict(
        self,
        layer: int,
        inputs: BranchInput,
        outputs: tuple[DecoderLayerOutput, ...],
        one_to_one: Mapping[str, PredictionSet] | None = None,
    ) -> Iterator[PredictionSet]:
        """Predict for the groups of a branch, the one-to-many one where ``one_to_one`` predictions are given."""
        branch = Branch.ONE_TO_ONE if one_to_one is None else Branch.ONE_TO_MANY
        base = torch.cat([outputs[layer].base_boxes[:, group.rows] for group in inputs.groups], dim=1)
        lengths = [len(group) for group in inputs.groups]
        logits = self.classify(layer, inputs.hidden, branch).split(lengths, dim=1)
        boxes = self.refine(layer, inputs.hidden, base, branch).split(lengths, dim=1)
        for group, group_logits, group_boxes in zip(inputs.groups, logits, boxes, strict=True):
            yield PredictionSet(
                stage=Stage.DECODER,
                layer=layer,
                is_last=layer == len(outputs) - 1,
                group=group,
                logits=group_logits,
                boxes=group_boxes,
                start_boxes=outputs[0].reference_boxes[:, group.rows],
                branch=branch,
                one_to_one=None if one_to_one is None else one_to_one[group.name],
            )
