"""Chosen and joined records: the dicts and columns of a list, without one."""

import pickle

import numpy as np
import pytest

from querydet.data.catalog import shared_records
from querydet.data.record_columns import COLUMNS, column
from querydet.data.record_views import ChosenRecords, JoinedRecords, Part, rows_of


def records(count, first=1, seed=0):
    rng = np.random.default_rng(seed)
    made, number = [], 100 * first
    for image_id in range(first, first + count):
        items = []
        for _ in range(int(rng.integers(4))):
            number += 1
            box = rng.integers(1, 50, 4).astype(float).tolist()
            items.append({"id": number, "category_id": int(rng.integers(5)), "bbox": box, "iscrowd": number % 2})
        size = {"height": 40 + image_id, "width": 50}
        made.append({"image_id": image_id, "file_name": f"{image_id}.jpg", **size, "annotations": items})
    return made


def assert_is_like(view, expected):
    assert len(view) == len(expected)
    assert list(view) == [view[index] for index in range(len(view))] == expected
    if expected:
        assert view[-1] == expected[-1]
    with pytest.raises(IndexError):
        view[len(expected)]
    for start, stop in ((0, len(expected)), (min(1, len(expected)), len(expected)), (0, min(2, len(expected)))):
        assert list(view[start:stop]) == expected[start:stop]
        for name in COLUMNS:
            assert np.array_equal(column(view, name, start, stop), column(expected, name, start, stop)), name
    assert list(pickle.loads(pickle.dumps(view))) == expected


@pytest.mark.parametrize("indices", [range(2, 9), range(0, 10, 3), np.array([8, 1, 1, 5]), np.array([], dtype=int)])
def test_chosen_records_are_those_of_a_list(indices):
    everything = records(10)
    assert_is_like(ChosenRecords(everything, indices), [everything[index] for index in indices])


def test_joined_records_follow_one_another_with_shifted_ids():
    one, none, other = records(3), [], records(4, seed=1)
    before = pickle.dumps((one, other))
    view = JoinedRecords([Part(one), Part(none), Part(other, image_shift=3, annotation_shift=1000)])
    shifted = [
        {
            **each,
            "image_id": each["image_id"] + 3,
            "annotations": [{**a, "id": a["id"] + 1000} for a in each["annotations"]],
        }
        for each in other
    ]
    assert_is_like(view, one + shifted)
    assert pickle.dumps((one, other)) == before
    assert view[0] is one[0]


def test_views_of_views_are_views():
    one, other = records(5), records(5, first=50)
    view = ChosenRecords(JoinedRecords([Part(ChosenRecords(one, range(3, 5))), Part(other)]), np.array([0, 2, 6]))
    assert_is_like(view, [one[3], other[0], other[4]])


def test_records_are_made_when_they_are_asked_for():
    class Counting(list):
        asked = 0

        def __getitem__(self, index):
            self.asked += 1
            return super().__getitem__(index)

        def __iter__(self):
            raise AssertionError("all records are read")

    source = Counting(records(10))
    view = JoinedRecords([Part(ChosenRecords(source, range(5))), Part(ChosenRecords(source, range(5, 10)))])
    assert view[6] == list.__getitem__(source, 6)
    assert source.asked == 1


def test_rows_of_images():
    assert rows_of(np.array([2, 0, 3, 1]), np.array([2, 1, 0, 3])).tolist() == [2, 3, 4, 0, 1, 5]
    assert rows_of(np.array([2, 0]), np.array([], dtype=int)).tolist() == []


def test_digests_tell_other_records_apart_and_need_no_record_of_known_ones():
    one, other = records(5), records(5, first=50)
    views = [
        ChosenRecords(one, range(5)),
        ChosenRecords(one, range(4)),
        ChosenRecords(one, np.array([0, 2])),
        ChosenRecords(other, range(4)),
        JoinedRecords([Part(one), Part(other)]),
        JoinedRecords([Part(other), Part(one)]),
        JoinedRecords([Part(one), Part(other, image_shift=7)]),
    ]
    found = [view.digests["records_sha256"] for view in views]
    assert len(set(found)) == len(views)
    assert found == [pickle.loads(pickle.dumps(view)).digests["records_sha256"] for view in views]
    assert [view.digests["objects"] for view in views] == [
        sum(len(record["annotations"]) for record in view) for view in views
    ]

    class Known(list):
        def __init__(self):
            super().__init__([None] * 3)
            self.digests = {"objects": 9, "records_sha256": "a", "annotations_sha256": "b"}

    found = JoinedRecords([Part(Known()), Part(Known())]).digests
    assert (found["annotations_sha256"], found["objects"]) == ("b", 18)


def test_lists_inside_of_views_are_shared_with_data_workers():
    one, other = records(5), records(5, first=50)
    view = JoinedRecords([Part(one), Part(ChosenRecords(other, range(2)))])
    taken = []

    def share(inner):
        taken.append(inner)
        return shared_records(inner)

    shared = view.shared(share)
    assert list(shared) == list(view)
    assert taken[0] is one
    shared[0]["annotations"].append(None)
    assert list(shared) == list(view), "a record that is changed is not the one that is kept"
