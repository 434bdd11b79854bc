"""The instability of the bipartite matching between two states of a model (DN-DETR, arXiv 2203.01305, section 3).

Equations 1 and 2: for an image, V_n is the object that query n is matched with, or -1; the instability of the image is
the number of queries whose V_n differs between two epochs, and the score IS the mean over the validation set. It is at
most twice the mean number of objects. Group DETR (arXiv 2207.13085, figure 5) compares methods by it. No code was
published; fixed here: the last decoder layer, the weights of training (2, 5, 2), crowd regions left out, images without
objects count 0.

IS takes it that query n means the same in both states. That holds for learned queries; the queries of a model with two
stages are ranked proposals, which are told apart here by the encoder's token that each was made from. Tokens have the
same numbers only if the images have the same size and the same neighbours in their batch: evaluate with the same
settings (the paper's procedure: one image at a time).
"""

import glob
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.utils.events import get_event_storage, has_event_storage

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.per_image import PerImageEvaluator, image_truth
from querydet.evaluation.query_predictions import match_queries, queries_of
from querydet.modeling.assigners import HungarianAssigner
from querydet.utils.atomic import atomic_write


@dataclass(frozen=True, slots=True)
class ImageMatching:
    """The matching of one image, which only has to hold the queries that are matched."""

    pairs: Mapping[int, int]  # the object of a query; the query's number, or its token
    objects: int  # in the image


@dataclass(frozen=True, slots=True)
class Matching:
    """The matching of a data set."""

    identity: str  # what the queries are told apart by: "query" or "token"
    images: Mapping[Any, ImageMatching]  # by image id


def matched_pairs(vector: Sequence[int]) -> dict[int, int]:
    """The pairs of a vector V, with -1 where a query has no object."""
    return {query: item for query, item in enumerate(vector) if item != -1}


def count_changes(first: Mapping[int, int], second: Mapping[int, int]) -> int:
    """The instability of an image: the queries whose object differs; a query that is not in a mapping has none."""
    return sum(first.get(query, -1) != second.get(query, -1) for query in first.keys() | second.keys())


def instability(first: Matching, second: Matching) -> float:
    """IS: the mean of :func:`count_changes` over the images; -1 without images.

    Raises:
        ValueError: the two are of other images, other objects, or another kind of queries.
    """
    if first.identity != second.identity:
        raise ValueError(f"one matching is by {first.identity} and the other by {second.identity}: of different models")
    if first.images.keys() != second.images.keys():
        different = sorted(first.images.keys() ^ second.images.keys(), key=str)[:5]
        raise ValueError(f"the two matchings are of different images: only one of them has {different}")
    for image_id, each in first.images.items():
        if each.objects != second.images[image_id].objects:
            raise ValueError(
                f"image {image_id} had {each.objects} objects in one matching and {second.images[image_id].objects} in "
                "the other: the annotations must be the same"
            )
    if not first.images:
        return -1.0
    changes = sum(count_changes(each.pairs, second.images[image_id].pairs) for image_id, each in first.images.items())
    return changes / len(first.images)


def compare(first: Matching | None, second: Matching) -> dict[str, float]:
    """``IS``, ``IS_relative`` and ``objects`` of the second matching after the first, see `InstabilityEvaluator`.

    Raises:
        ValueError: the two are of other images, other objects, or another kind of queries.
    """
    score = -1.0 if first is None else instability(first, second)
    total = sum(each.objects for each in second.images.values())
    mean = total / len(second.images) if second.images else 0.0
    relative = score / (2 * mean) if score >= 0 and mean else -1.0
    return {"IS": score, "IS_relative": relative, "objects": mean}


def as_matching(found: Mapping[Any, tuple[str, ImageMatching]]) -> Matching:
    """The matching of a data set from what `InstabilityEvaluator` measures of its images."""
    identity = next((kind for kind, _ in found.values()), "query")
    return Matching(identity, {image_id: each for image_id, (_, each) in found.items()})


def save_matching(matching: Matching, path: str) -> None:
    """Writes a matching as json."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    images = [
        {"image_id": image_id, "objects": each.objects, "pairs": sorted(each.pairs.items())}
        for image_id, each in matching.images.items()
    ]
    with atomic_write(path) as file:
        file.write(json.dumps({"identity": matching.identity, "images": images}).encode())


def load_matching(path: str) -> Matching:
    """Reads a matching.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not one.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"matching {path} does not exist: an InstabilityEvaluator with a folder writes them")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        images = {
            each["image_id"]: ImageMatching({int(key): int(value) for key, value in each["pairs"]}, each["objects"])
            for each in content["images"]
        }
        return Matching(content["identity"], images)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a matching written by InstabilityEvaluator: {error!r}") from error


class MatchingHistory:
    """Matchings by the state that they are of: in a folder, where a resumed run finds them, or in memory.

    Args:
        folder: for ``matching_<state>.json``; None: memory.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._kept: dict[tuple[int, int], Matching] = {}
        self._last = (-1, 0)

    def add(self, matching: Matching) -> Matching | None:
        """Keeps a matching, and returns that of the state before it; None where it is the first.

        The state is the iteration of the training run, or outside of training one more than the last one. A second
        matching of an iteration is that of other weights, as of their average after them, and follows the second one of
        the iteration before.
        """
        if has_event_storage():
            state = get_event_storage().iter + 1
        else:
            state = max((each for each, _ in self._states()), default=-1) + 1
        turn = self._last[1] + 1 if self._last[0] == state else 0
        earlier = [each for each in self._states() if each[0] < state and each[1] == turn]
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
        found = []
        for path in glob.glob(os.path.join(glob.escape(self._folder), "matching_*.json")):
            name = re.fullmatch(r"matching_(\d+)(?:_(\d+))?\.json", os.path.basename(path))
            if name:
                found.append((int(name[1]), int(name[2] or 0)))
        return found

    def _get(self, state: tuple[int, int]) -> Matching:
        return self._kept[state] if self._folder is None else load_matching(self._path(state))

    def _path(self, state: tuple[int, int]) -> str:
        assert self._folder is not None
        turn = f"_{state[1]}" if state[1] else ""
        return os.path.join(self._folder, f"matching_{state[0]:07d}{turn}.json")


class InstabilityEvaluator(PerImageEvaluator):
    """IS between this evaluation and the one before, or a matching of another model.

    ``IS``; ``IS_relative``, IS as a part of its maximum; ``objects``, their mean number in an image. The first two are
    -1 where there is nothing to compare with.

    Args:
        dataset: the loaded data set.
        assigner: the bipartite matching of training; None: with weights 2, 5 and 2.
        folder: where matchings are kept, so that a resumed run, or ``--eval-only`` of one checkpoint after the other,
            finds the one before; None: in memory, for the evaluations of this process.
        against: a file that a folder holds, to compare with that one; None: the one before.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names, or ``against`` is no matching.
        FileNotFoundError: ``against`` does not exist.
    """

    uses_queries = True

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        assigner: HungarianAssigner | None = None,
        folder: str | None = None,
        against: str | None = None,
        distributed: bool = True,
    ) -> None:
        super().__init__(dataset=dataset, distributed=distributed)
        self._assigner = assigner or HungarianAssigner()
        self._history = MatchingHistory(folder)
        self._against = None if against is None else load_matching(against)

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> tuple[str, ImageMatching]:
        """What the queries are told apart by, and the matching of the last layer.

        Raises:
            ValueError: the output has no queries.
        """
        found, truth = queries_of(output, type(self).__name__), image_truth(record)
        queries, objects = match_queries(found, truth, self._assigner)
        names = queries if found.tokens is None else found.tokens[queries]
        pairs = dict(zip(names.tolist(), objects.tolist(), strict=True))
        return "query" if found.tokens is None else "token", ImageMatching(pairs, len(truth.objects()))

    def summarise(self, found: dict[Any, tuple[str, ImageMatching]]) -> dict[str, dict[str, float]]:
        """``{"instability": {...}}``."""
        matching = as_matching(found)
        previous = self._history.add(matching)
        return {"instability": compare(self._against or previous, matching)}
