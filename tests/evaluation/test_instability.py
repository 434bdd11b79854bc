"""The instability score by hand (DN-DETR, equations 1 and 2), and what it is compared with."""

import json

import numpy as np
import pytest
from detectron2.utils.events import EventStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.evaluation import InstabilityEvaluator
from querydet.evaluation.instability import (
    ImageMatching,
    Matching,
    count_changes,
    instability,
    load_matching,
    save_matching,
)
from tests.evaluation.hand_made import in_two_processes, make_dataset, one_query_per

LEFT, RIGHT = [0.1, 0.2, 0.2, 0.4], [0.6, 0.2, 0.2, 0.4]
OBJECTS = [[0, 0, 40, 40], [100, 0, 40, 40]]  # of an image of 200x100: LEFT and RIGHT
NOTHING = [0.9, 0.9, 0.1, 0.1]


def matched_pairs(vector):
    """Matched pairs of a vector V of the paper, which has -1 for unmatched queries."""
    return {query: item for query, item in enumerate(vector) if item != -1}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((-1, 0, 1, -1), (0, -1, 1, -1), 2),
        ((0, 1), (1, 0), 2),
        ((0, -1), (0, -1), 0),
        ((-1, -1, -1, 0, -1, -1), (-1, -1, -1, -1, -1, 0), 2),  # an object that moves from query 3 to query 5
        ((0, 1, -1), (-1, 0, 1), 3),
        ((), (), 0),
    ],
)
def test_changes_of_an_image(first, second, expected):
    assert count_changes(matched_pairs(first), matched_pairs(second)) == expected


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_pairs_count_as_the_vectors_do(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(-1, 4, (2, 12))
    changes = count_changes(matched_pairs(first.tolist()), matched_pairs(second.tolist()))
    assert changes == (first != second).sum()


def matching(*vectors, identity="query", objects=2):
    images = {number: ImageMatching(matched_pairs(each), objects) for number, each in enumerate(vectors, start=1)}
    return Matching(identity, images)


def test_the_score_is_the_mean_over_all_images():
    assert instability(matching((0, 1), (-1, 0)), matching((1, 0), (-1, 0))) == 1
    assert instability(matching(), matching()) == -1


def test_matchings_of_different_things_are_not_compared():
    with pytest.raises(ValueError, match=r"different images: only one of them has \[2\]"):
        instability(matching((0, 1)), matching((0, 1), (0, 1)))
    with pytest.raises(ValueError, match="one matching is by query and the other by token"):
        instability(matching((0, 1)), matching((0, 1), identity="token"))
    with pytest.raises(ValueError, match="image 1 had 2 objects in one matching and 3 in the other"):
        instability(matching((0, 1)), matching((0, 1), objects=3))


def test_matchings_are_written_and_read(tmp_path):
    path = str(tmp_path / "new" / "matching.json")
    save_matching(matching((0, -1, 1), (-1,)), path)
    assert load_matching(path) == matching((0, -1, 1), (-1,))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_matching(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="is not a matching"):
        load_matching(str(tmp_path / "bad.json"))


def outputs(*boxes, tokens=None):
    return {"_1": {"queries": one_query_per(boxes, tokens=tokens)}, "_2": {"queries": one_query_per(boxes)}}


def evaluate(evaluator, found):
    evaluator.reset()
    for image, output in found.items():
        evaluator.process([{"image_id": int(image[1:])}], [output])
    return evaluator.evaluate()["instability"]


def test_consecutive_evaluations_are_compared():
    evaluator = InstabilityEvaluator(dataset=make_dataset([*OBJECTS, {"bbox": [0, 0, 9, 9], "iscrowd": 1}], []))
    one, other = outputs(LEFT, RIGHT, NOTHING), outputs(LEFT, NOTHING, RIGHT)
    for each in (one, other):
        each["_2"] = {"queries": one_query_per([LEFT])}  # without objects: adds nothing, but counts
    assert evaluate(evaluator, one) == {"IS": -1, "IS_relative": -1, "objects": 1}
    assert evaluate(evaluator, one) == {"IS": 0, "IS_relative": 0, "objects": 1}
    assert evaluate(evaluator, other) == {"IS": 1, "IS_relative": 0.5, "objects": 1}  # 2 changes in 2 images


def test_ranked_proposals_are_told_apart_by_their_tokens():
    evaluator = InstabilityEvaluator(dataset=make_dataset(OBJECTS))
    for tokens, boxes in (((7, 9), (LEFT, RIGHT)), ((9, 7), (RIGHT, LEFT))):  # another rank, the same matches
        result = evaluate(evaluator, {"_1": {"queries": one_query_per(boxes, tokens=tokens)}})
    assert result["IS"] == 0
    moved = {"_1": {"queries": one_query_per((RIGHT, LEFT), tokens=(9, 3))}}
    assert evaluate(evaluator, moved)["IS"] == 2
    with pytest.raises(ValueError, match="by token and the other by query"):
        evaluate(evaluator, {"_1": {"queries": one_query_per((RIGHT, LEFT))}})


def test_a_folder_outlives_the_process_and_any_of_its_files_can_be_compared_with(tmp_path):
    dataset, folder = make_dataset(OBJECTS), str(tmp_path)
    one = {"_1": {"queries": one_query_per((LEFT, RIGHT, NOTHING))}}
    other = {"_1": {"queries": one_query_per((LEFT, NOTHING, RIGHT))}}
    scores = [
        evaluate(InstabilityEvaluator(dataset=dataset, folder=folder), each)["IS"] for each in (one, other, other)
    ]
    assert scores == [-1, 2, 0]
    first = str(tmp_path / "matching_0000000.json")
    assert evaluate(InstabilityEvaluator(dataset=dataset, against=first), other)["IS"] == 2


def test_in_training_states_are_iterations(tmp_path):
    """A resumed run evaluates an iteration again, and evaluates raw weights and their average one after the other."""
    dataset = make_dataset(OBJECTS)
    one = {"_1": {"queries": one_query_per((LEFT, RIGHT, NOTHING))}}
    other = {"_1": {"queries": one_query_per((LEFT, NOTHING, RIGHT))}}
    evaluator = InstabilityEvaluator(dataset=dataset, folder=str(tmp_path))
    with EventStorage(9) as storage:
        assert evaluate(evaluator, one)["IS"] == -1  # raw weights
        assert evaluate(evaluator, other)["IS"] == -1  # their average
        storage.iter = 19
        assert evaluate(evaluator, one)["IS"] == 0
        assert evaluate(evaluator, one)["IS"] == 2
    with EventStorage(19):
        again = InstabilityEvaluator(dataset=dataset, folder=str(tmp_path))
        assert evaluate(again, other)["IS"] == 2  # with iteration 10, not with what iteration 20 had before


def test_two_processes_give_the_result_of_one(monkeypatch, tmp_path):
    dataset = make_dataset(OBJECTS, OBJECTS)
    first, second = outputs(LEFT, RIGHT, NOTHING), outputs(RIGHT, LEFT, NOTHING)
    evaluate(InstabilityEvaluator(dataset=dataset, folder=str(tmp_path)), first)
    start = str(tmp_path / "matching_0000000.json")
    expected = evaluate(InstabilityEvaluator(dataset=dataset, against=start), second)
    assert expected["IS"] == 2
    found = in_two_processes(lambda: InstabilityEvaluator(dataset=dataset, against=start), second, monkeypatch)
    assert found == ({"instability": expected}, {})
