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
    """Make a linear classifier whose initial scores are `PRIOR_PROBABILITY`."""
    head = nn.Linear(embed_dim, num_classes)
    nn.init.constant_(head.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
    return head


def make_box_head(embed_dim: int, initial_size_logit: float = 0.0, zero: bool = True) -> MLP:
    """Make a three-layer box regressor.

    Args:
        embed_dim: width C.
        initial_size_logit: initial output for width and height; -2 where references have no size (Deformable DETR
            without two stages), so that boxes start small.
        zero: whether the initial offsets are zero, but for `initial_size_logit`; False: those of torch's layers.
    """
    head = MLP(embed_dim, embed_dim, 4, num_layers=3)
    if not zero:
        return head
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
        num_classes: K.
        num_layers: number of decoder layers.
        share_layers: whether all layers share one class and one box head (DINO, official 4-scale configuration).
        inverse_sigmoid_eps: clipping constant of `querydet.modeling.boxes.inverse_sigmoid`.
        embed_dim: width C.
        initial_size_logit: initial output of the first layer's box head for width and height, see `make_box_head`.
        separate_one_to_many: kinds of heads that the one-to-many branch has of its own, any of "class" and "box"; they
            start as copies (MS-DETR, table 6; sharing both is best).
        zero_box_head: whether the first predictions are the references; False: box heads start from torch's weights
            (released code of DN-DETR with a deformable encoder and a dense decoder).

    Raises:
        ValueError: for an unknown kind of head, or an initial size beside box heads that do not start at zero.
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
        zero_box_head: bool = True,
    ) -> None:
        super().__init__()
        if set(separate_one_to_many) - {"class", "box"}:
            raise ValueError(f"separate_one_to_many may hold 'class' and 'box', found {list(separate_one_to_many)}")
        if initial_size_logit and not zero_box_head:
            raise ValueError(
                f"initial_size_logit={initial_size_logit} is for box heads that start at zero: set it to 0, or "
                "zero_box_head=True"
            )
        copies = 1 if share_layers else num_layers
        self.num_layers, self.embed_dim = num_layers, embed_dim
        self.inverse_sigmoid_eps = inverse_sigmoid_eps
        self.separate_one_to_many = tuple(separate_one_to_many)
        self.class_heads = nn.ModuleList(make_class_head(embed_dim, num_classes) for _ in range(copies))
        self.box_heads = nn.ModuleList(
            make_box_head(embed_dim, initial_size_logit if layer == 0 else 0.0, zero_box_head)
            for layer in range(copies)
        )
        self._start_equal(keep_last=zero_box_head)
        separate = {kind: getattr(self, f"{kind}_heads") for kind in separate_one_to_many}
        self.one_to_many_heads = nn.ModuleDict({kind: copy.deepcopy(heads) for kind, heads in separate.items()})

    def _start_equal(self, keep_last: bool) -> None:
        """Copy the first head's weights to the heads of all layers, as the released code does by deep copies.

        Args:
            keep_last: whether the last layers of box heads stay: they start at zero, or at a size that only the first
                head has.
        """
        for head in self.class_heads[1:]:
            head.load_state_dict(self.class_heads[0].state_dict())
        first = self.box_heads[0].state_dict()
        for head in self.box_heads[1:]:
            own = head.state_dict()
            kept = [name for name in own if keep_last and name.startswith("layers.2")]
            head.load_state_dict(first | {name: own[name] for name in kept})

    @property
    def training_only(self) -> tuple[str, ...]:
        """Names of heads that inference never calls: it classifies after the last layer only, and one to one."""
        return ("one_to_many_heads", *(f"class_heads.{layer}" for layer in range(len(self.class_heads) - 1)))

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        head = self.class_heads[0]
        assert isinstance(head, nn.Linear)
        return head.out_features

    def first_heads(self) -> tuple[nn.Module, nn.Module]:
        """Return the class and box head of the last layer, from whose initial weights proposal heads start."""
        return self.class_heads[-1], self.box_heads[-1]

    def refine(self, layer: int, hidden: Tensor, reference: Tensor, branch: Branch = Branch.ONE_TO_ONE) -> Tensor:
        """Return boxes (B, Q, 4), at least float32, from hidden states (B, Q, C) and references (B, Q, 4 or 2)."""
        deltas = in_full_precision(self._head("box", layer, branch), hidden)
        return refine_boxes(deltas, full_precision(reference), self.inverse_sigmoid_eps)

    def classify(self, layer: int, hidden: Tensor, branch: Branch = Branch.ONE_TO_ONE) -> Tensor:
        """Return class logits (B, Q, K), at least float32, from the hidden states (B, Q, C) of a layer."""
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
        """Predict for every group after every layer, or after the last layer only, in every branch that there is.

        Args:
            outputs: of all decoder layers.
            groups: the query groups that the hidden states belong to.
            last_only: whether to predict after the last layer only.
        """
        second = tuple(output.second_stream for output in outputs if output.second_stream is not None)
        predictions: list[PredictionSet] = []
        for layer in range(len(outputs) - 1 if last_only else 0, len(outputs)):
            one_to_one = list(self._predict(layer, outputs, BranchInput(outputs[layer].hidden, groups)))
            predictions += one_to_one
            by_group = {prediction_set.group.name: prediction_set for prediction_set in one_to_one}
            one_to_many = outputs[layer].one_to_many
            if one_to_many is not None:
                predictions += self._predict(layer, outputs, one_to_many, Branch.ONE_TO_MANY, by_group)
            if second:
                inputs = BranchInput(second[layer].hidden, groups)
                predictions += self._predict(layer, second, inputs, Branch.SECOND_STREAM, by_group)
        return tuple(predictions)

    def _predict(
        self,
        layer: int,
        outputs: tuple[DecoderLayerOutput, ...],
        inputs: BranchInput,
        branch: Branch = Branch.ONE_TO_ONE,
        one_to_one: Mapping[str, PredictionSet] | None = None,
    ) -> Iterator[PredictionSet]:
        """Predict for the groups of a branch; for one that is not one-to-one, beside its `one_to_one` predictions."""
        base = torch.cat([outputs[layer].base_boxes[:, group.rows] for group in inputs.groups], dim=1)
        lengths = [len(group) for group in inputs.groups]
        logits = self.classify(layer, inputs.hidden, branch).split(lengths, dim=1)
        boxes = self.refine(layer, inputs.hidden, base, branch).split(lengths, dim=1)
        hidden = inputs.hidden.split(lengths, dim=1)
        for group, group_hidden, group_logits, group_boxes in zip(inputs.groups, hidden, logits, boxes, strict=True):
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
                hidden=group_hidden,
            )
