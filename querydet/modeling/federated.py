"""The class loss of federated data: focal loss over the classes of an image and some others, drawn by frequency.

Source: Zhou et al., Probabilistic two-stage detection (arXiv 2103.07461, section 5.4), and the released code of Detic
for Deformable DETR on LVIS. A step trains the classes of its objects, filled up to 50 by classes that are drawn without
replacement, with probabilities proportional to the root of the number of training images of a class. So a rare class is
seldom taught that it is absent. Which classes an image is known not to have plays no role.

Differences: the released code draws for all images of a process together (`scope="batch"`), once for every layer, from
the global generator. Here every image draws from its own seed, so that the loss depends neither on how a batch is split
nor on what was drawn before, and all layers and groups of a rule share the draw.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from querydet.modeling.layers.sigmoid_focal import focal_loss_of_queries
from querydet.modeling.losses import class_of_queries
from querydet.structures import JoinedPredictions, MatchedPairs
from querydet.utils.transfer import send

SCOPES = ("image", "batch")
_DRAW = 0x1F15  # makes the draw of an image unrelated to other uses of its seed


class FederatedFocalLoss:
    """Sigmoid focal loss over all queries and the kept classes: those of the matched objects, and drawn ones.

    Classes that are not kept have neither loss nor gradient. With as many kept classes as there are, it is `FocalLoss`.
    For class-agnostic predictions, which have objects of class 0 alone, the others are drawn all the same.

    Args:
        weight: factor of the loss.
        counts: number of training images of each class, (K,); None: the run takes those of its training data.
        num_kept: number of classes that are kept; of an image with more classes, all of them are.
        power: exponent of the counts in the probability to be drawn.
        scope: whether each image keeps classes of its own ("image"), or all images of the batch the same ("batch").
        alpha: see `FocalLoss`.
        gamma: see `FocalLoss`.

    Raises:
        ValueError: a number or the scope is not possible.
    """

    score_function = "sigmoid"

    def __init__(
        self,
        *,
        weight: float,
        counts: Sequence[float] | None = None,
        num_kept: int = 50,
        power: float = 0.5,
        scope: str = "image",
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        if num_kept < 1 or power < 0:
            raise ValueError(f"num_kept has to be at least 1 and power at least 0, got {num_kept} and {power}")
        if scope not in SCOPES:
            raise ValueError(f"scope has to be one of {SCOPES}, got {scope!r}")
        self.weight, self.alpha, self.gamma = weight, alpha, gamma
        self.num_kept, self.power, self.scope = num_kept, power, scope
        self._has_own_counts = counts is not None
        self._weights = None if counts is None else class_weights(counts, power)

    def use_counts(self, counts: Sequence[float]) -> None:
        """Take the number of training images of each class (K,), unless the loss was built with others.

        Raises:
            ValueError: a count is negative or not finite, or all are 0.
        """
        if not self._has_own_counts:
            self._weights = class_weights(counts, self.power)

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each query (B, Q), over the kept classes.

        Raises:
            ValueError: there are no counts of the classes, or those of another number of classes.
        """
        logits = predictions.logits
        labels = class_of_queries(logits, matched)
        if self.num_kept < logits.shape[-1]:
            columns, kept = self._choose(matched, len(logits), logits.shape[-1])
            logits, labels = take_classes(logits, labels, columns, kept)
        loss = focal_loss_of_queries(logits.flatten(0, 1), labels.flatten(), self.alpha, self.gamma)
        return loss.view(labels.shape)

    def _choose(self, matched: MatchedPairs, images: int, classes: int) -> tuple[Tensor, Tensor]:
        """Choose the classes of every image, as `keep_classes` returns them."""
        weights = self._checked_weights(classes)
        present = classes_of_images(matched, images, classes)
        seeds: Sequence[int | None] = (None,) * images if matched.targets is None else matched.targets.seeds
        objects = [len(matched.labels)] if matched.targets is None else matched.targets.counts
        most = max(objects)
        if self.scope == "batch":
            present, seeds, most = present.any(0, keepdim=True), seeds[:1], sum(objects)
        scores = send(torch.stack([draw_scores(weights, seed) for seed in seeds]), present.device)
        return keep_classes(scores, present, self.num_kept, min(classes, max(self.num_kept, most)))

    def _checked_weights(self, classes: int) -> Tensor:
        if self._weights is None:
            raise ValueError(
                "the federated loss needs the number of training images of each class: querydet.engine.train takes it "
                "from the training data; elsewhere call querydet.engine.give_class_counts(model, dataset), or set "
                "`counts` of the loss"
            )
        if len(self._weights) != classes:
            raise ValueError(
                f"the federated loss has the numbers of images of {len(self._weights)} classes, but the model has "
                f"{classes}: leave `counts` out, so that they are those of the training data"
            )
        return self._weights


def class_weights(counts: Sequence[float], power: float) -> Tensor:
    """Return what the probabilities of the classes are proportional to, `counts ** power`, (K,) float32 on the CPU.

    A class without images is not drawn, whatever the power is.

    Raises:
        ValueError: a count is negative or not finite, or all are 0.
    """
    values = np.asarray(counts, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(
            f"counts are the numbers of images of each class, at least 0 and not all 0, got {values.tolist()[:10]}"
        )
    return torch.from_numpy(np.where(values > 0, values**power, 0).astype(np.float32))


def draw_scores(weights: Tensor, seed: int | None) -> Tensor:
    """Draw a score (K,) for each class: the classes by falling score are draws without replacement.

    The score is the weight over an exponential number, as in `torch.multinomial`. That number is made from a uniform
    one, which is the same on every machine.

    Args:
        weights: (K,) on the CPU.
        seed: of the image; None: draws from the default generator.
    """
    generator = None
    if seed is not None:
        (own,) = np.random.SeedSequence([seed % 2**64, _DRAW]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(own >> 1))
    uniform = torch.rand(len(weights), dtype=torch.float64, generator=generator)
    return (weights / -torch.log1p(-uniform).clamp(max=-1e-30)).to(weights.dtype)


def classes_of_images(matched: MatchedPairs, images: int, classes: int) -> Tensor:
    """Return (B, K) bool, whether an image has a matched object of a class."""
    present = torch.zeros(images * classes, dtype=torch.bool, device=matched.labels.device)
    return present.index_fill_(0, matched.image * classes + matched.labels, True).view(images, classes)


def keep_classes(scores: Tensor, present: Tensor, count: int, limit: int) -> tuple[Tensor, Tensor]:
    """Keep all classes that are present, and those of the best scores up to a number of classes.

    Args:
        scores: (B, K), at least 0; a class of score 0 is not drawn.
        present: (B, K) bool, at most `limit` of an image.
        count: number of classes to keep, at most `limit`.
        limit: M, number of columns of the result.

    Returns:
        The classes (B, M) int64, and whether each is kept (B, M) bool. Nothing waits for the device.
    """
    best = scores.masked_fill(present, torch.inf).topk(limit, 1)
    number = present.sum(1, keepdim=True).clamp(min=count)
    return best.indices, (torch.arange(limit, device=number.device) < number) & (best.values > 0)


def take_classes(logits: Tensor, labels: Tensor, columns: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Reduce logits and labels to chosen classes.

    Args:
        logits: (B, Q, K).
        labels: (B, Q) int64, a kept class of each query, or K.
        columns: (B, M) or (1, M) int64, the chosen classes.
        kept: bool of that shape; the loss of the others becomes 0.

    Returns:
        Logits (B, Q, M), and the labels among them, (B, Q), M where a query has none.
    """
    images, queries, classes = logits.shape
    columns = columns.expand(images, -1)
    size = columns.shape[1]
    chosen = logits.gather(2, columns[:, None].expand(-1, queries, -1)).masked_fill(~kept[:, None], -torch.inf)
    places = torch.arange(size, device=labels.device).expand(images, -1)
    place = labels.new_full((images, classes + 1), size).scatter(1, columns, places)
    return chosen, place.gather(1, labels)
