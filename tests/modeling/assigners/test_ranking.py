"""The selection of pairs that the one-to-many assigners share."""

import pytest
import torch
from detectron2.modeling.matcher import Matcher
from torch import Tensor

from querydet.modeling.assigners.ranking import OverlapMatcher, Ranking, ThresholdMatcher, keep_random

ANY = ThresholdMatcher(threshold=0.4)


def pairs(scores: list[list[float]], max_queries: int = 6, matcher=ANY, cap=None) -> list[tuple[int, int]]:
    ranking = Ranking.of(torch.tensor(scores), matcher, max_queries)
    positive = ranking.label == 1
    queries, objects, _ = ranking.choose(positive if cap is None else cap(positive))
    return list(zip(queries.tolist(), objects.tolist(), strict=True))


def reference(scores: Tensor, threshold: float, max_queries: int) -> list[tuple[int, int]]:
    """The rules of the module, one query and object at a time."""
    best = [max(range(len(scores)), key=lambda t, q=q: scores[t][q].item()) for q in range(scores.shape[1])]
    positive = {q for q in range(scores.shape[1]) if scores[best[q]][q] >= threshold}
    positive |= {int(row.argmax()) for row in scores}
    found = []
    for number, row in enumerate(scores):
        count = sum(best[query] == number for query in positive)
        ranked = sorted(range(scores.shape[1]), key=lambda q, row=row: -row[q].item())
        found += [(query, number) for query in ranked[: min(count, max_queries)]]
    return found


def test_an_object_gets_its_best_queries_up_to_k() -> None:
    assert pairs([[0.1, 0.9, 0.5, 0.7]]) == [(1, 0), (3, 0), (2, 0)]
    assert pairs([[0.1, 0.9, 0.5, 0.7]], max_queries=2) == [(1, 0), (3, 0)]


def test_the_best_query_of_an_object_is_forced_below_the_threshold() -> None:
    assert pairs([[0.1, 0.3, 0.2]]) == [(1, 0)]
    assert pairs([[0.1, 0.3, 0.2]], matcher=ThresholdMatcher(threshold=0.4, forced=False)) == []


def test_a_forced_query_counts_for_the_object_that_it_scores_best_for() -> None:
    # query 0 is the best of both objects and prefers object 0: object 1 stays without
    assert pairs([[0.9, 0.1], [0.8, 0.05]]) == [(0, 0)]


def test_a_query_may_serve_two_objects() -> None:
    # object 1 has one positive of its own (query 1), and takes its best query instead, which is object 0's too
    assert pairs([[0.9, 0.1, 0.1], [0.8, 0.7, 0.1]]) == [(0, 0), (0, 1)]


def test_detectron2s_matcher_forces_all_queries_of_the_best_score() -> None:
    scores = [[0.3, 0.3, 0.1]]
    assert pairs(scores) == [(0, 0)]
    ties = Matcher([0.4], [0, 1], allow_low_quality_matches=True)
    assert sorted(pairs(scores, matcher=ties)) == [(0, 0), (1, 0)]


@pytest.mark.parametrize("low_quality", [True, False])
@pytest.mark.parametrize(("thresholds", "labels"), [([0.6], [0, 1]), ([0.3, 0.7], [0, -1, 1])])
def test_overlap_matcher_is_detectron2s(thresholds: list[float], labels: list[int], low_quality: bool) -> None:
    for seed in range(10):
        scores = torch.rand(4, 30, generator=torch.Generator().manual_seed(seed))
        scores = scores.mul(10).round() / 10 if seed % 2 else scores  # ties, and scores that are thresholds
        scores[0] = 0 if seed > 6 else scores[0]  # an object that overlaps nothing
        arguments = (list(thresholds), list(labels), low_quality)
        for found, wanted in zip(OverlapMatcher(*arguments)(scores), Matcher(*arguments)(scores), strict=True):
            assert torch.equal(found, wanted)
            assert found.dtype == wanted.dtype


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_loops(seed: int) -> None:
    scores = torch.rand(5, 20, generator=torch.Generator().manual_seed(seed)) ** 2
    ranking = Ranking.of(scores, ANY, 3)
    queries, objects, found = ranking.choose(ranking.label == 1)
    assert torch.equal(found, scores[objects, queries])
    assert list(zip(queries.tolist(), objects.tolist(), strict=True)) == reference(scores, 0.4, 3)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_nothing_to_assign(shape: tuple[int, int]) -> None:
    ranking = Ranking.of(torch.zeros(shape), ANY, 6)
    queries, objects, _ = ranking.choose(ranking.label == 1)
    assert queries.shape == objects.shape == (0,)
    assert queries.dtype == objects.dtype == torch.int64


def test_fewer_queries_than_k_and_more_objects_than_queries() -> None:
    assert pairs([[0.9, 0.8]], max_queries=6) == [(0, 0), (1, 0)]
    assert {query for query, _ in pairs([[0.5, 0.6], [0.6, 0.5], [0.7, 0.7]])} <= {0, 1}


def test_the_cap_decides_how_many_and_not_which() -> None:
    scores = [[0.9, 0.8, 0.7, 0.6]]
    assert pairs(scores, cap=lambda positive: positive & torch.tensor([False, False, True, True])) == [(0, 0), (1, 0)]


def test_keep_random() -> None:
    positive = torch.zeros(50, dtype=torch.bool)
    positive[5:35] = True
    kept = keep_random(positive, 10, seed=3)
    assert kept.sum() == 10
    assert not (kept & ~positive).any()
    assert torch.equal(kept, keep_random(positive, 10, seed=3))
    assert not torch.equal(kept, keep_random(positive, 10, seed=4))
    assert not torch.equal(kept, keep_random(positive, 10, seed=3, turn=1))
    assert torch.equal(keep_random(positive, 30, seed=3), positive)
    assert torch.equal(keep_random(positive, 60, seed=None), positive)
    assert not keep_random(positive, 0, seed=None).any()


def test_keep_random_is_fair() -> None:
    positive = torch.tensor([True, False, True, True])
    counts = sum(keep_random(positive, 1, seed).long() for seed in range(600))
    assert counts[1] == 0
    assert counts.sum() == 600
    assert counts[[0, 2, 3]].min() > 150
