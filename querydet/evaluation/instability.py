"""Instability of the bipartite matching between two states of a model (DN-DETR, arXiv 2203.01305, section 3).

Equations 1 and 2: for an image, V_n is the object that query n is matched with, or -1; the instability of the image is
the number of queries whose V_n differs between two epochs, and the score IS is the mean over the validation set. It is
at most twice the mean number of objects. Group DETR (arXiv 2207.13085, figure 5) compares methods by it. The authors
published no code; fixed here: the last decoder layer, the weights of training (2, 5, 2), without crowd regions, images
without objects count 0.

IS assumes that query n means the same in both states. That holds for learned queries; the queries of a two-stage model
are ranked proposals, which are identified here by the encoder token that each was selected from. Tokens have the same
index only if images have the same size and padding: evaluate with the same settings and batches (the paper: one image
at a time).
"""

import glob
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detectron2.utils.events import get_event_storage, has_event_storage

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.per_image import PerImageEvaluator, image_truth
from querydet.evaluation.query_predictions import check_assigner, match_queries, queries_of
from querydet.modeling.assigners import HungarianAssigner
from querydet.parts import Assigner
from querydet.utils.atomic import atomic_write
from querydet.utils.plain_json import parse_json


@dataclass(frozen=True, slots=True)
class ImageMatching:
    """The matching of one image; only matched queries are stored."""

    pairs: Mapping[int, int]  # index of the object by the query's index or token
    objects: int  # number of objects of the image


@dataclass(frozen=True, slots=True)
class Matching:
    """The matching of a data set."""

    identity: str  # how queries are identified: "query" (index) or "token"
    images: Mapping[Any, ImageMatching]  # by image id


def count_changes(first: Mapping[int, int], second: Mapping[int, int]) -> int:
    """Count the queries of an image whose object differs; a query that is not in a mapping is unmatched."""
    return sum(first.get(query, -1) != second.get(query, -1) for query in first.keys() | second.keys())


def instability(first: Matching, second: Matching) -> float:
    """Compute IS: the mean of `count_changes` over the images; -1 without images.

    Raises:
        ValueError: the matchings have different images, numbers of objects or kinds of query identity.
    """
    if first.identity != second.identity:
        raise ValueError(f"one matching is by {first.identity} and the other by {second.identity}: of different models")
    if first.images.keys() != second.images.keys():
        different = sorted(first.images.keys() ^ second.images.keys(), key=str)[:5]
        raise ValueError(f"the two matchings are of different images: only one of them has {different}")
    for image_id, image in first.images.items():
        if image.objects != second.images[image_id].objects:
            raise ValueError(
                f"image {image_id} had {image.objects} objects in one matching and "
                f"{second.images[image_id].objects} in the other: the annotations must be the same"
            )
    if not first.images:
        return -1.0
    changes = sum(count_changes(image.pairs, second.images[image_id].pairs) for image_id, image in first.images.items())
    return changes / len(first.images)


def compare(first: Matching | None, second: Matching) -> dict[str, float]:
    """Compute `IS`, `IS_relative` and `objects` of the second matching; see `InstabilityEvaluator`.

    Raises:
        ValueError: the matchings have different images, numbers of objects or kinds of query identity.
    """
    score = -1.0 if first is None else instability(first, second)
    total = sum(image.objects for image in second.images.values())
    mean = total / len(second.images) if second.images else 0.0
    relative = score / (2 * mean) if score >= 0 and mean else -1.0
    return {"IS": score, "IS_relative": relative, "objects": mean}


def as_matching(measurements: Mapping[Any, tuple[str, ImageMatching]]) -> Matching:
    """Combine the measurements of `InstabilityEvaluator` into the matching of a data set."""
    identity = next((kind for kind, _ in measurements.values()), "query")
    return Matching(identity, {image_id: image for image_id, (_, image) in measurements.items()})


def save_matching(matching: Matching, path: str) -> None:
    """Write a matching as json."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    images = [
        {"image_id": image_id, "objects": image.objects, "pairs": sorted(image.pairs.items())}
        for image_id, image in matching.images.items()
    ]
    with atomic_write(path) as file:
        file.write(json.dumps({"identity": matching.identity, "images": images}).encode())


def load_matching(path: str) -> Matching:
    """Read a matching.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no matching.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"matching {path} does not exist: an InstabilityEvaluator with a folder writes them")
    try:
        with open(path, encoding="utf-8") as file:
            content = parse_json(file.read())
        images = {
            image["image_id"]: ImageMatching({int(key): int(value) for key, value in image["pairs"]}, image["objects"])
            for image in content["images"]
        }
        return Matching(content["identity"], images)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} is not a matching written by InstabilityEvaluator: {error!r}") from error


class MatchingHistory:
    """Matchings of a model's states: in a folder, where a resumed run finds them, or in memory.

    Args:
        folder: for `matching_<state>.json`; None: memory.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._kept: dict[tuple[int, int], Matching] = {}
        self._last = (-1, 0)

    def add(self, matching: Matching) -> Matching | None:
        """Store a matching, and return that of the previous state; None for the first.

        The state is the iteration of the training run, or outside of training one more than the last state. A second
        matching in the same iteration belongs to other weights, such as their moving average, which are evaluated after
        the trained ones; it follows the second one of the previous iteration.
        """
        if has_event_storage():
            state = get_event_storage().iter + 1
        else:
            state = max((iteration for iteration, _ in self._states()), default=-1) + 1
        turn = self._last[1] + 1 if self._last[0] == state else 0
        earlier = [key for key in self._states() if key[0] < state and key[1] == turn]
        previous = self._get(max(earlier)) if earlier else None
        self._last = (state, turn)
        if self._folder is None:
            self._kept = {key: value for key, value in self._kept.items() if key[1] != turn or key[0] == state}
            self._kept[self._last] = matching
        else:
            save_matching(matching, self._path(self._last))
        return previous

    def _states(self) -> list[tuple[int, int]]:
        if self._folder is None:
            return list(self._kept)
        states = []
        for path in glob.glob(os.path.join(glob.escape(self._folder), "matching_*.json")):
            name = re.fullmatch(r"matching_(\d+)(?:_(\d+))?\.json", os.path.basename(path))
            if name:
                states.append((int(name[1]), int(name[2] or 0)))
        return states

    def _get(self, state: tuple[int, int]) -> Matching:
        return self._kept[state] if self._folder is None else load_matching(self._path(state))

    def _path(self, state: tuple[int, int]) -> str:
        assert self._folder is not None
        turn = f"_{state[1]}" if state[1] else ""
        return os.path.join(self._folder, f"matching_{state[0]:07d}{turn}.json")


class InstabilityEvaluator(PerImageEvaluator):
    """IS between this evaluation and the previous one, or a matching of another model.

    `IS`; `IS_relative`, IS as a fraction of its maximum; `objects`, the mean number of objects of an image. The first
    two are -1 without a matching to compare with.

    Args:
        dataset: the loaded data set.
        assigner: the one-to-one assigner of training; None: bipartite matching with weights 2, 5 and 2.
        folder: stores matchings, so that a resumed run, or `--eval-only` on successive checkpoints, finds the previous
            one; None: in memory, for the evaluations of this process.
        against: matching file to compare with; None: the previous evaluation.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names, the assigner compares masks, or `against` is no
            matching.
        FileNotFoundError: `against` does not exist.
    """

    uses_queries = True

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        assigner: Assigner | None = None,
        folder: str | None = None,
        against: str | None = None,
        distributed: bool = True,
    ) -> None:
        super().__init__(dataset=dataset, distributed=distributed)
        self._assigner = check_assigner(assigner or HungarianAssigner())
        self._history = MatchingHistory(folder)
        self._against = None if against is None else load_matching(against)

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> tuple[str, ImageMatching]:
        """Return how queries are identified, and the matching of the last layer.

        Raises:
            ValueError: the output has no queries.
        """
        recorded, truth = queries_of(output, type(self).__name__), image_truth(record)
        queries, objects = match_queries(recorded, truth, self._assigner)
        identities = queries if recorded.tokens is None else recorded.tokens[queries]
        pairs = dict(zip(identities.tolist(), objects.tolist(), strict=True))
        return "query" if recorded.tokens is None else "token", ImageMatching(pairs, len(truth.objects()))

    def summarise(self, measurements: dict[Any, tuple[str, ImageMatching]]) -> dict[str, dict[str, float]]:
        """Return `{"instability": {...}}`."""
        matching = as_matching(measurements)
        previous = self._history.add(matching)
        return {"instability": compare(self._against or previous, matching)}
