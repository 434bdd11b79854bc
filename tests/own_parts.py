"""Parts of a user's own, one for each slot, written from `querydet.parts` without inheriting from a part of ours."""

from collections.abc import Mapping, Sequence

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from querydet.modeling.decoder.group_attention import plan_attention
from querydet.structures import (
    PRIMARY,
    Assignment,
    DecoderLayerOutput,
    ImageFeatures,
    InitialQueries,
    JoinedPredictions,
    MatchedPairs,
    PredictionSet,
    QueryBatch,
    QueryGroup,
    Role,
    Stage,
    Targets,
    TokenPyramid,
)


class OwnNeck(nn.Module):
    """The coarsest map as one level."""

    num_levels = 1

    def __init__(self, *, in_channels: Mapping[str, int], embed_dim: int) -> None:
        super().__init__()
        self.in_channels, self.embed_dim = dict(in_channels), embed_dim
        self.source = list(self.in_channels)[-1]
        self.linear = nn.Linear(self.in_channels[self.source], embed_dim)

    def forward(self, features: Mapping[str, Tensor], padding: Tensor) -> TokenPyramid:
        chosen = features[self.source]
        height, width = chosen.shape[-2:]
        rows, columns = (
            torch.div(torch.arange(size) * padding.shape[dim], size, rounding_mode="floor")
            for dim, size in ((1, height), (2, width))
        )
        mask = padding[:, rows][:, :, columns]
        tokens = self.linear(chosen.flatten(2).transpose(1, 2))
        ratios = torch.stack([(~mask[:, 0]).float().mean(1), (~mask[:, :, 0]).float().mean(1)], dim=-1)
        return TokenPyramid(tokens, torch.zeros_like(tokens), mask.flatten(1), ((height, width),), ratios[:, None])


class OwnEncoder(nn.Module):
    """Mixes every token with the mean of its image."""

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, embed_dim)

    def forward(self, features: TokenPyramid) -> TokenPyramid:
        valid = (~features.padding)[..., None]
        mean = (features.tokens * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
        tokens = features.tokens + self.linear(mean)
        return TokenPyramid(tokens, features.position, features.padding, features.shapes, features.valid_ratios)


class OwnSelection(nn.Module):
    """The tokens with the largest learned score, each with a box that it predicts."""

    reference_dim = 4
    fixed_positions = True

    def __init__(self, *, num_queries: int, embed_dim: int) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.score, self.box = nn.Linear(embed_dim, 1), nn.Linear(embed_dim, 4)
        self.embed = nn.Linear(4, embed_dim)

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        scores = self.score(memory.tokens).squeeze(-1).masked_fill(memory.padding, -torch.inf)
        values, index = scores.topk(self.num_queries, dim=1)
        content = memory.tokens.gather(1, index[..., None].expand(-1, -1, memory.tokens.shape[-1]))
        content = content * values.sigmoid()[..., None]
        boxes = self.box(content).sigmoid()
        group = QueryGroup(PRIMARY, 0, self.num_queries)
        return (InitialQueries(group, content, boxes.detach(), position=self.embed(boxes)),)

    def embed_boxes(self, boxes: Tensor) -> Tensor:
        return self.embed(boxes)


class OwnDenoising(nn.Module):
    """Every object once, as it is."""

    def __init__(self, *, num_classes: int, embed_dim: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.labels = nn.Embedding(num_classes, embed_dim)

    def forward(self, targets: Targets) -> tuple[InitialQueries, ...]:
        most = max(targets.counts)
        content = self.labels.weight.new_zeros(len(targets.counts), most, self.labels.embedding_dim)
        boxes = targets.boxes[0].new_full((len(targets.counts), most, 4), 0.5)
        known = []
        for image, (labels, gt_boxes) in enumerate(zip(targets.labels, targets.boxes, strict=True)):
            content[image, : len(labels)] = self.labels(labels)
            boxes[image, : len(labels)] = gt_boxes
            known.append(Assignment(torch.arange(len(labels)), torch.arange(len(labels))))
        group = QueryGroup(
            "copies", 0, most, Role.DENOISING, visible_groups=(PRIMARY,), loss_suffix="copy", known=tuple(known)
        )
        return (InitialQueries(group, content, boxes),)


class OwnDecoder(nn.Module):
    """One kind of layer: plain attention among queries and to tokens."""

    def __init__(self, *, embed_dim: int, num_layers: int) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.among = nn.ModuleList(nn.MultiheadAttention(embed_dim, 2, batch_first=True) for _ in range(num_layers))
        self.to_tokens = nn.ModuleList(nn.MultiheadAttention(embed_dim, 2, batch_first=True) for _ in range(num_layers))

    def forward(
        self, queries: QueryBatch, memory: TokenPyramid, heads: nn.Module, one_to_many: bool = False
    ) -> tuple[DecoderLayerOutput, ...]:
        plan = plan_attention(queries.groups, queries.boxes.device)
        content, outputs = queries.content, []
        position = 0 if queries.position is None else queries.position
        for among, to_tokens in zip(self.among, self.to_tokens, strict=True):

            def attend(query: Tensor, value: Tensor, blocked: Tensor | None, among: nn.Module = among) -> Tensor:
                return among(query, query, value, attn_mask=blocked, need_weights=False)[0]

            content = content + plan.apply(attend, content + position, content)
            keys, mask = memory.tokens + memory.position, memory.padding
            content = content + to_tokens(content, keys, memory.tokens, key_padding_mask=mask, need_weights=False)[0]
            outputs.append(DecoderLayerOutput(content, queries.boxes, queries.boxes))
        return tuple(outputs)


class OwnHeads(nn.Module):
    """A linear layer for all predictions."""

    def __init__(self, *, num_classes: int, num_layers: int, embed_dim: int) -> None:
        super().__init__()
        self.num_classes, self.num_layers = num_classes, num_layers
        self.linear = nn.Linear(embed_dim, num_classes + 4)

    def refine(self, layer: int, hidden: Tensor, reference: Tensor) -> Tensor:
        deltas = self.linear(hidden)[..., self.num_classes :]
        moved = torch.logit(reference, 1e-3) + deltas[..., : reference.shape[-1]]
        return torch.cat([moved, deltas[..., reference.shape[-1] :]], dim=-1).sigmoid()

    def forward(
        self, outputs: tuple[DecoderLayerOutput, ...], groups: tuple[QueryGroup, ...], last_only: bool
    ) -> tuple[PredictionSet, ...]:
        last = len(outputs) - 1
        return tuple(
            PredictionSet(
                stage=Stage.DECODER,
                layer=layer,
                is_last=layer == last,
                group=group,
                logits=self.linear(outputs[layer].hidden[:, group.rows])[..., : self.num_classes],
                boxes=self.refine(layer, outputs[layer].hidden, outputs[layer].base_boxes)[:, group.rows],
                start_boxes=outputs[0].reference_boxes[:, group.rows],
            )
            for layer in range(last if last_only else 0, len(outputs))
            for group in groups
        )


class OwnAssigner:
    """Each object takes the nearest free query, in order."""

    one_to_one = True

    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        assignments = []
        for boxes, gt_boxes in zip(predictions.boxes.detach(), targets.boxes, strict=True):
            distance = torch.cdist(gt_boxes.to(boxes.dtype), boxes, p=1)
            queries = []
            for row in distance:
                row[queries] = torch.inf
                queries.append(int(row.argmin()))
            assignments.append(Assignment(torch.tensor(queries, dtype=torch.int64), torch.arange(len(queries))))
        return tuple(assignments)


class OwnBatchedAssigner:
    """The same in two steps, which no step waits for twice."""

    one_to_one = True

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        return tuple(
            torch.cdist(gt_boxes, prediction_set.boxes[image].to(gt_boxes.dtype), p=1)
            for prediction_set in predictions
            for image, gt_boxes in enumerate(targets.boxes)
        )

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        images, found = len(targets.counts), []
        for start in range(0, len(computed), images):
            pairs = []
            for distance in computed[start : start + images]:
                queries: list[int] = []
                for row in distance.clone():
                    row[queries] = torch.inf
                    queries.append(int(row.argmin()))
                pairs.append(Assignment(torch.tensor(queries, dtype=torch.int64), torch.arange(len(queries))))
            found.append(tuple(pairs))
        return found

    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        return self.assign(self.compute([predictions], targets), [predictions], targets)[0]


class OwnLoss:
    """A smooth L1 loss of each pair."""

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        predicted = predictions.boxes[matched.image, matched.query]
        return nn.functional.smooth_l1_loss(predicted, matched.boxes, reduction="none").sum(1)


class OwnNormalizer:
    """The number of queries."""

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        return float(predictions.logits.shape[1])


class OwnCriterion:
    """Pulls every box of the last layer to the middle of the image's objects, and every logit to zero."""

    def __call__(self, predictions: tuple[PredictionSet, ...], targets: Targets) -> dict[str, Tensor]:
        last = predictions[-1]
        middle = torch.stack([boxes.mean(0) if len(boxes) else boxes.new_full((4,), 0.5) for boxes in targets.boxes])
        return {
            "loss_box": (last.boxes - middle[:, None]).abs().mean(),
            "loss_logit": sum((one.logits.square().mean() for one in predictions), last.logits.new_zeros(())),
        }


class OwnPostprocess:
    """The best class of every query."""

    def __call__(self, logits: Tensor, boxes: Tensor, sizes: list[tuple[int, int]]) -> list[Instances]:
        found = []
        for image_logits, image_boxes, (height, width) in zip(logits, boxes, sizes, strict=True):
            scores, classes = image_logits.sigmoid().max(-1)
            order = scores.argsort(descending=True)
            low, high = image_boxes[:, :2] - image_boxes[:, 2:] / 2, image_boxes[:, :2] + image_boxes[:, 2:] / 2
            corners = torch.cat([low, high], dim=1) * torch.tensor([width, height, width, height])
            instances = Instances((height, width), pred_boxes=Boxes(corners[order]), scores=scores[order])
            instances.pred_classes = classes[order]
            found.append(instances)
        return found


class OwnMasks:
    """A mask that is a threshold on a map of brightness, moved by the query; fulfils `ImageMasks`."""

    def __init__(self, shift: nn.Linear, maps: Tensor, canvas: tuple[int, int]) -> None:
        self.shift, self.maps, self.canvas = shift, maps, canvas

    def of_batch(self, hidden: Tensor) -> Tensor:
        return (self.maps[:, None] + self.shift(hidden)[..., None]).float()

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        return (self.maps[image] + self.shift(hidden)[..., None]).float()

    def at_points(self, image: int, hidden: Tensor, points: Tensor) -> Tensor:
        grid = 2 * points[None, None] - 1
        sampled = torch.nn.functional.grid_sample(self.maps[image][None, None], grid, align_corners=False)
        return sampled[0, 0] + self.shift(hidden)

    def resized(self, size: tuple[int, int]) -> "OwnMasks":
        maps = torch.nn.functional.interpolate(self.maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        return OwnMasks(self.shift, maps, self.canvas)


class OwnMaskHead(nn.Module):
    """Reads one backbone map."""

    def __init__(self, *, in_channels: Mapping[str, int], embed_dim: int) -> None:
        super().__init__()
        self.in_channels, self.embed_dim = dict(in_channels), embed_dim
        ((self.source, width),) = self.in_channels.items()
        self.mix, self.shift = nn.Conv2d(width, 1, 1), nn.Linear(embed_dim, 1)

    def forward(self, features: ImageFeatures) -> OwnMasks:
        height, width = features.padding.shape[1:]
        return OwnMasks(self.shift, self.mix(features.maps[self.source])[:, 0], (height, width))
