"""Which predictions each method supervises, with which objects, and what their losses are called."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.reference.detectors import assigners
from tests.reference.detectors.criterion import losses, one_class
from tests.reference.detectors.denoising import Noised
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.run import Objects, Outputs, Run, call_name, loss_suffix


def count(targets: list[Objects]) -> int:
    """Number of objects that losses are divided by."""
    return max(1, sum(map(len, targets)))


@dataclass
class Criterion:
    """One-to-one matching and losses.

    Args:
        costs: of class, L1 distance and generalised IoU in the matching.
        alpha: of the focal loss.
        gamma: of the focal loss.
        cost_alpha: of the focal cost.
        cost_gamma: of the focal cost.
        eps: in the denominators of overlaps.
        terms: what the three losses are called.
    """

    costs: tuple[float, float, float]
    alpha: float
    gamma: float = 2.0
    cost_alpha: float = 0.25
    cost_gamma: float = 2.0
    eps: float = 0.0
    terms: tuple[str, str, str] = ("loss_ce", "loss_bbox", "loss_giou")

    def match(self, outputs: Outputs, targets: list[Objects]) -> list[Tensor]:
        """Pairs of each image."""
        return [
            assigners.hungarian(
                logits, boxes, objects, self.costs, alpha=self.cost_alpha, gamma=self.cost_gamma, eps=self.eps
            )
            for logits, boxes, objects in zip(outputs.logits, outputs.boxes, targets, strict=True)
        ]

    def add(
        self, run: Run, outputs: Outputs, targets: list[Objects], pairs: list[Tensor], divisor: float, suffix: str
    ) -> None:
        """Add the losses of one layer to a run."""
        values = losses(
            outputs.logits,
            outputs.boxes,
            targets,
            pairs,
            divisor,
            alpha=self.alpha,
            gamma=self.gamma,
            eps=self.eps,
        )
        run.losses |= {f"{term}{suffix}": value for term, value in zip(self.terms, values, strict=True)}

    def one_to_one(self, run: Run, targets: list[Objects]) -> None:
        """Match and supervise every layer of the decoder."""
        for name in decoder_names(run):
            pairs = self.match(run.outputs[name], targets)
            run.matches[call_name(name)] = pairs
            self.add(run, run.outputs[name], targets, pairs, count(targets), loss_suffix(name))

    def encoder(self, run: Run, targets: list[Objects]) -> None:
        """Match and supervise the tokens of the encoder, as objects or not."""
        if "enc/" not in run.outputs:
            return
        outputs, targets = run.outputs["enc/"], one_class(targets)
        run.matches["enc"] = self.match(outputs, targets)
        self.add(run, outputs, targets, run.matches["enc"], count(targets), "_enc")


def decoder_names(run: Run, branch: str = "") -> list[str]:
    """Outputs of a branch of the decoder, the last layer first, as the released codes go through them."""
    others = [name for name in run.outputs if name.startswith(f"{branch}aux")]
    return [branch, *others]


def deformable(run: Run, targets: list[Objects], criterion: Criterion) -> None:
    """Deformable DETR's losses."""
    criterion.one_to_one(run, targets)
    criterion.encoder(run, targets)


def hybrid(run: Run, targets: list[Objects], criterion: Criterion, repeats: int) -> None:
    """H-DETR's losses: its further queries find every object several times."""
    deformable(run, targets, criterion)
    many = [Objects(one.labels.repeat(repeats), one.boxes.repeat(repeats, 1)) for one in targets]
    for name in decoder_names(run, "o2m/"):
        layer = name.removeprefix("o2m/")
        pairs = criterion.match(run.outputs[name], many)
        run.matches[f"o2m_{call_name(layer)}"] = pairs
        criterion.add(run, run.outputs[name], many, pairs, count(many), f"{loss_suffix(layer)}_one2many")


def ms_detr(
    run: Run,
    targets: list[Objects],
    criterion: Criterion,
    draws: Draws,
    *,
    threshold: float = 0.4,
    most: int = 6,
    merge: bool = False,
) -> None:
    """MS-DETR's losses: every layer has a one-to-many branch, and the encoder is matched by its anchors."""
    criterion.one_to_one(run, targets)
    for name in decoder_names(run, "o2m/"):
        outputs, layer = run.outputs[name], name.removeprefix("o2m/")
        pairs = [
            assigners.ms_detr(logits.detach(), boxes.detach(), objects, draws, threshold=threshold, most=most)
            for logits, boxes, objects in zip(outputs.logits, outputs.boxes, targets, strict=True)
        ]
        run.matches[f"o2m_{call_name(layer)}"] = pairs
        if merge:
            pairs = [assigners.merged(*both) for both in zip(run.matches[call_name(layer)], pairs, strict=True)]
            for image, one in enumerate(pairs):
                run.middle[f"match_merged/o2m_{call_name(layer)}/{image}"] = one
        criterion.add(run, outputs, targets, pairs, count(targets), f"{loss_suffix(layer)}_o2m")
    outputs, same = run.outputs["enc/"], one_class(targets)
    by_place = replace(criterion, costs=(0.0, *criterion.costs[1:]))
    run.matches["enc"] = by_place.match(replace(outputs, boxes=outputs.anchors), same)
    criterion.add(run, outputs, same, run.matches["enc"], count(targets), "_enc")


@dataclass
class Overlap:
    """One of DETA's assignments.

    Args:
        low: boxes that overlap no object by so much are background.
        high: boxes that overlap an object by so much count for it.
        most: boxes of an object.
        samples: number of boxes that are looked at, or None for all.
        fraction: of these that may be positive.
    """

    low: float
    high: float
    most: int
    samples: int | None
    fraction: float

    def __call__(self, boxes: Tensor, objects: Objects, draws: Draws) -> Tensor:
        """Pairs of an image."""
        positives = int((self.samples or len(boxes)) * self.fraction)
        return assigners.by_overlap(
            boxes, objects, draws, low=self.low, high=self.high, most=self.most, most_positives=positives
        )


def deta(
    run: Run,
    targets: list[Objects],
    criterion: Criterion,
    draws: Draws,
    first: Overlap | None,
    second: Overlap | None,
) -> None:
    """DETA's losses: a stage without an assignment by overlap is matched one to one."""
    if second is None:
        criterion.one_to_one(run, targets)
    else:
        start = run.middle["init_reference"]
        pairs = [second(boxes, objects, draws) for boxes, objects in zip(start, targets, strict=True)]
        run.matches["stage2_all_layers"] = pairs
        for name in decoder_names(run):
            criterion.add(run, run.outputs[name], targets, pairs, count(targets), loss_suffix(name))
    if first is None:
        criterion.encoder(run, targets)
        return
    outputs = run.outputs["enc/"]
    assert outputs.anchors is not None
    pairs = [
        first(anchors, objects, draws) if len(objects) else torch.zeros(2, 0, dtype=torch.int64)
        for anchors, objects in zip(outputs.anchors, targets, strict=True)
    ]
    run.matches["stage1_enc"] = pairs
    criterion.add(run, outputs, one_class(targets), pairs, count(targets), "_enc")


def dino(run: Run, targets: list[Objects], criterion: Criterion, noised: Noised) -> None:
    """DINO's losses: negatives and empty slots of denoising are background."""
    criterion.one_to_one(run, targets)
    run.matches["interm"] = criterion.match(run.outputs["interm/"], targets)
    criterion.add(run, run.outputs["interm/"], targets, run.matches["interm"], count(targets), "_interm")
    for name in decoder_names(run):
        suffix = f"_dn{loss_suffix(name)}"
        if f"dn/{name}" in run.outputs:
            divisor = count(targets) * noised.groups
            criterion.add(run, run.outputs[f"dn/{name}"], targets, noised.pairs, divisor, suffix)
        else:
            run.losses |= {f"{term}{suffix}": torch.zeros(()) for term in criterion.terms}


def dn_detr(run: Run, targets: list[Objects], criterion: Criterion, noised: Noised) -> None:
    """DN-DETR's losses: the slots with objects, as one image, divided by their number."""
    criterion.one_to_one(run, targets)
    together = Objects(torch.cat([one.labels for one in targets]), torch.cat([one.boxes for one in targets]))
    before = [sum(map(len, targets[:image])) for image in range(len(targets))]
    numbers = torch.cat([pairs[1] + start for pairs, start in zip(noised.pairs, before, strict=True)])
    own = replace(criterion, terms=tuple(f"tgt_{term}" for term in criterion.terms))
    for name in decoder_names(run):
        if not len(numbers):
            run.losses |= {f"{term}{loss_suffix(name)}": torch.zeros(()) for term in own.terms}
            continue
        outputs = run.outputs[f"dn/{name}"]
        logits, boxes = (
            torch.cat([one[pairs[0]] for one, pairs in zip(values, noised.pairs, strict=True)])[None]
            for values in (outputs.logits, outputs.boxes)
        )
        pairs = [torch.stack([torch.arange(len(numbers)), numbers])]
        own.add(run, Outputs("", logits, boxes), [together], pairs, len(numbers), loss_suffix(name))


def groups(run: Run, targets: list[Objects], criterion: Criterion, number: int) -> None:
    """Group DETR's losses: every group is matched alone, and the sum is divided by their number too."""
    for name in decoder_names(run):
        outputs = run.outputs[name]
        size = outputs.boxes.shape[1] // number
        matched: list[list[Tensor]] = [[] for _ in targets]
        for group in range(number):
            rows = slice(group * size, (group + 1) * size)
            own = Outputs("", outputs.logits[:, rows], outputs.boxes[:, rows])
            for image, pairs in enumerate(criterion.match(own, targets)):
                matched[image].append(pairs + torch.tensor([[group * size], [0]]))
        together = [torch.cat(pairs, 1) for pairs in matched]
        run.matches[call_name(name)] = together
        divisor = max(1, sum(map(len, targets)) * number)
        criterion.add(run, outputs, targets, together, divisor, loss_suffix(name))
