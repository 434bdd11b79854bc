"""Entries become rows alike at once and one by one; what fits into no row is set aside."""

import math

import numpy as np
import pytest

from querydet.data.columns.rows import ANNOTATION, annotation_rows, image_rows

PLAIN = {"id": 1, "image_id": 2, "category_id": 3, "bbox": [1, 2.5, 3, 4], "area": 12, "iscrowd": 1}
ODD = {"id": None, "image_id": 2, "category_id": 3, "bbox": [1, 2, 3, 4]}


def values(rows):
    return [str(row) for row in rows]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"area": 2.5},
        {"area": 10**30},
        {"area": 2**53 + 1},
        {"id": 2**63 - 1, "image_id": -(2**63)},
        {"bbox": [2**63, -(2**70), math.nan, math.inf]},
        {"iscrowd": 0, "segmentation": [[1]]},
    ],
)
def test_a_batch_is_converted_as_its_entries(changes):
    entries = [PLAIN, {**PLAIN, **changes}, PLAIN]
    at_once = annotation_rows(entries, 0)
    one_by_one = annotation_rows([*entries, ODD], 0)
    assert at_once.rows.dtype == one_by_one.rows.dtype == ANNOTATION
    assert values(at_once.rows) == values(one_by_one.rows)
    assert (at_once.odd, one_by_one.odd) == ([], [(3, ODD)])
    assert one_by_one.kept == entries


@pytest.mark.parametrize("area", [None, "x", [], {}, math.nan])
def test_an_area_that_is_none_is_nan(area):
    (found,) = annotation_rows([{**PLAIN, "area": area}], 0).rows["area"]
    assert math.isnan(found)


def test_flags():
    entries = [{**PLAIN, "iscrowd": 0, "ignore": flag} for flag in (1, "yes", 0)] + [{**PLAIN, "iscrowd": True}]
    rows = annotation_rows(entries, 0).rows
    assert rows["crowd"].tolist() == [1, 1, 0, 1]
    assert rows["ignored"].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        *({"id": value} for value in (None, "1", 1.0, True, 2**63, -(2**63) - 1)),
        *({"image_id": value} for value in (None, [2], 2**64)),
        *({"category_id": value} for value in (None, "3", 2**64)),
        *({"bbox": value} for value in (None, [], [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, True], "abcd", {}, 5)),
        *({"iscrowd": value} for value in (2, None, "1", [1], 10**30)),
    ],
)
def test_what_fits_into_no_row_is_set_aside(change):
    entry = {**PLAIN, **change}
    rows, odd, kept = annotation_rows([PLAIN, entry, PLAIN], 10)
    assert (len(rows), odd, kept) == (2, [(11, entry)], [PLAIN, PLAIN])


@pytest.mark.parametrize("entry", [None, 5, "x", [], {}])
def test_what_is_no_entry_is_set_aside(entry):
    assert annotation_rows([entry], 3).odd == image_rows([entry], 3, "").odd == [(3, entry)]


def test_with_masks_a_box_may_be_missing():
    entries = [{**PLAIN, "bbox": box} for box in (None, [], [1, 2, 3, 4])]
    assert annotation_rows(entries, 0, masks=True).rows["boxless"].tolist() == [1, 2, 0]
    assert len(annotation_rows(entries, 0).odd) == 2


def test_images():
    image = {"id": -3, "file_name": "a.png", "width": 4.0, "height": 2**31 - 1}
    wrong = [
        {**image, "id": "3"},
        {**image, "id": 2**63},
        {**image, "file_name": "../a.png"},
        {**image, "width": 0},
        {**image, "width": 2.5},
        {**image, "height": 2**31},
        {**image, "height": math.nan},
        {**image, "height": "4"},
    ]
    rows, odd, kept = image_rows([image, *wrong], 0, "")
    assert rows.tolist() == [(-3, 2**31 - 1, 4)]
    assert [entry for _, entry in odd] == wrong
    assert kept == [image]
    assert image_rows([], 0, "").rows.shape == np.zeros(0).shape
