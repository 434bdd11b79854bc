"""Objects that are annotated twice, found in columns as in dicts."""

import numpy as np
import pytest

from querydet.data.record_columns import COLUMNS, column
from querydet.data.repeated_objects import WithoutRepeated, is_repeated


def random_records(seed, images=30):
    """Few different boxes and classes, so that many objects repeat others."""
    rng = np.random.default_rng(seed)
    records = []
    for image_id in range(images):
        items = [
            {
                **{"id": 100 * image_id + index, "category_id": int(rng.integers(2)), "iscrowd": int(rng.integers(2))},
                "bbox": [float(rng.integers(2)), 0.5, 1.0, float(rng.integers(1, 3))],
            }
            for index in range(int(rng.integers(8)))
        ]
        size = {"height": 40, "width": 50 + image_id}
        records.append({"image_id": image_id, "file_name": str(image_id), **size, "annotations": items})
    return records


@pytest.mark.parametrize("seed", range(3))
def test_columns_and_dicts_agree_with_a_search_of_all_pairs(seed):
    records = random_records(seed)
    expected = []
    for record in records:
        kept = []
        for item in record["annotations"]:
            if not any({**item, "id": 0} == {**other, "id": 0} for other in kept):
                kept.append(item)
        expected.append({**record, "annotations": kept})
    view = WithoutRepeated(records)
    assert list(view) == expected
    for name in COLUMNS:
        for start, stop in ((0, len(records)), (3, 9)):
            assert np.array_equal(column(view, name, start, stop), column(expected, name, start, stop)), name
    before, after = (sum(len(record["annotations"]) for record in each) for each in (records, expected))
    assert view.repeated == before - after > 0
    assert WithoutRepeated(view).repeated == 0


def test_the_later_object_is_the_one_that_repeats():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=float)
    zeros = np.zeros(4, dtype=int)
    assert is_repeated(np.array([3, 1]), zeros, boxes, zeros).tolist() == [False, False, True, False]
    assert is_repeated(np.array([0, 4]), zeros, boxes, zeros).tolist() == [False, False, True, True]
    assert is_repeated(np.zeros(2, dtype=int), zeros[:0], boxes[:0], zeros[:0]).tolist() == []
