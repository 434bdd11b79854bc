"""Records of columns: the same dicts as those of a file in memory, in this process and in others."""

import multiprocessing
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from querydet.data import fingerprint as fingerprints
from querydet.data import load_coco
from querydet.data.coco_records import ReadingRules, read_records
from querydet.data.columns import collect, json_lists, ordering, outlines, read_columns
from querydet.data.columns.files import ColumnsError, column_path
from querydet.data.columns.records import ColumnRecords
from querydet.data.record_columns import COLUMNS, column
from tests.data.columns.memory import grown_by, write_large
from tests.data.columns.random_files import assert_same, both, random_content, write
from tests.data.outlined import outlined

ENCODINGS = ("utf-8", "ascii", "utf-16", "utf-32-be", "utf-8-sig")


@pytest.fixture
def paths(tmp_path):
    """A json of 8 images and 24 objects."""
    return write(tmp_path / "a.json", outlined()), str(tmp_path)


@pytest.fixture
def records(paths):
    return read_columns(*paths, ReadingRules()).records


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    encoding=st.sampled_from(ENCODINGS),
    masks=st.booleans(),
    lists=st.sampled_from([(), ("neg_category_ids", "also")]),
    check_boxes=st.booleans(),
    pieces=st.sampled_from([(1, 1, 1), (7, 3, 4), (64, 2, 5), (1 << 22, 10_000, 1 << 19)]),
)
@example(seed=214233, encoding="utf-8", masks=True, lists=(), check_boxes=False, pieces=(1, 1, 1))
def test_records_are_those_of_the_file_in_memory(tmp_path_factory, seed, encoding, masks, lists, check_boxes, pieces):
    """Value by value and type by type, wherever pieces of the file, of its lists and of the columns end."""
    path = tmp_path_factory.mktemp("random") / "a.json"
    write(path, random_content(seed, masks, lists), encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "PIECE", pieces[0])
        patch.setattr(json_lists, "BATCH", pieces[1])
        patch.setattr(collect, "CHUNK", pieces[2])
        patch.setattr(ordering, "CHUNK", pieces[2])
        patch.setattr(outlines, "AT_ONCE", pieces[2])
        rules = ReadingRules(check_boxes=check_boxes, masks=masks, image_lists=lists)
        in_memory, in_columns = both(path, "images", rules)
    assert_same(in_memory, in_columns)


def test_an_index_is_one_of_a_sequence(records):
    listed = list(records)
    assert len(records) == len(listed) == 8
    assert [records[number] for number in range(-8, 8)] == listed * 2
    assert records[np.int64(3)] == listed[3]
    for part in (slice(None), slice(2, 5), slice(-3, None), slice(None, None, -2), slice(7, 100), slice(5, 2)):
        assert records[part] == listed[part]
    for number in (8, -9, 10**30):
        with pytest.raises(IndexError, match=f"record {number} of 8"):
            records[number]
    with pytest.raises(TypeError):
        records[1.0]


def test_records_are_made_for_each_caller(records):
    records[0]["annotations"].clear()
    records[0]["width"] = 5
    assert len(records[0]["annotations"]) == 3
    assert records[0]["width"] == 160


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_those_of_the_records(records, name):
    for start, stop in ((0, 8), (2, 5), (3, 3)):
        expected = column(list(records), name, start, stop)
        found = column(records, name, start, stop)
        assert found.tolist() == expected.tolist()
        assert found.shape == expected.shape


def test_columns_cannot_be_written(records):
    with pytest.raises(ValueError, match="read-only"):
        records.columns["box"][0] = 0


def test_the_fingerprint_is_that_of_the_file_in_memory(paths):
    """So a run that was started in memory goes on with columns."""

    class Loaded:
        def __init__(self, dataset):
            self.name, self.record = dataset.name, dataset.records.__getitem__
            self._length = len(dataset)
            self.digests = getattr(dataset.records, "digests", {})

        def __len__(self):
            return self._length

    found = [
        fingerprints.fingerprint(Loaded(load_coco(*paths, check_files=False, masks=True, cache=cache)))
        for cache in (False, True)
    ]
    assert found[0] == found[1]
    assert found[0]["objects"] == 24
    assert fingerprints.differences(*found) == []


@pytest.mark.parametrize("masks", [False, True])
def test_pickled_records_are_paths(paths, masks):
    records = read_columns(*paths, ReadingRules(masks=masks)).records
    pickled = pickle.dumps(records)
    assert len(pickled) < 2000
    copied = pickle.loads(pickled)
    assert_same(list(copied), list(records))
    assert copied.digests == records.digests


def _send(records, queue):
    queue.put((len(records), records[2], type(records).__name__))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_other_processes_read_the_same(records, method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_send, args=(records, queue))
    process.start()
    try:
        assert queue.get(timeout=60) == (8, records[2], "ColumnRecords")
    finally:
        process.join(60)


def test_what_was_opened_outlives_its_files(records):
    listed = list(records)
    shutil.rmtree(records._arguments[0])
    assert list(records) == listed


def test_a_worker_of_replaced_columns_says_so(paths):
    """It would have read other data than the process that started it, if the columns were of the same size."""
    records = read_columns(*paths, ReadingRules()).records
    pickled = pickle.dumps(records)
    content = outlined()
    content["annotations"][0]["bbox"][0] += 1
    write(Path(paths[0]), content)
    read_columns(*paths, ReadingRules())
    with pytest.raises(ColumnsError, match=r"removed or changed.*start the run again.*from another file"):
        pickle.loads(pickled)
    shutil.rmtree(records._arguments[0])
    with pytest.raises(ColumnsError, match=r"removed or changed.*start the run again"):
        pickle.loads(pickled)


def test_a_worker_of_a_touched_file_goes_on(paths):
    records = read_columns(*paths, ReadingRules()).records
    os.utime(paths[0], (1, 1))
    read_columns(*paths, ReadingRules())
    assert list(pickle.loads(pickle.dumps(records))) == list(records)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("image_start", lambda values: values[::-1].copy(), "does not fit box"),
        ("image_start", lambda values: values[[0, 2, 1, *range(3, 9)]], "does not ascend"),
        ("image_start", lambda values: values + 1, "does not fit box"),
        ("name_start", lambda values: values[[0, 8, 2, *range(3, 9)]], "does not ascend"),
    ],
)
def test_damaged_offsets_are_noticed(records, name, change, message):
    folder, layout, *rest = records._arguments
    change(np.array(records.columns[name])).tofile(column_path(folder, name))
    with pytest.raises(ColumnsError, match=message):
        ColumnRecords(folder, layout, *rest)


def test_a_missing_column_is_noticed(records):
    folder, layout, *rest = records._arguments
    for name in ("image_start", "name", "box"):
        with pytest.raises(ColumnsError, match="is missing or short"):
            ColumnRecords(folder, {key: value for key, value in layout.items() if key != name}, *rest)


def test_images_alone(tmp_path):
    content = outlined()
    del content["annotations"]
    path = write(tmp_path / "a.json", content)
    rules = ReadingRules(need_annotations=False, masks=True, image_lists=("neg_category_ids",))  # which test files lack
    in_memory, in_columns = both(path, "images", rules)
    assert_same(in_memory, in_columns)
    assert in_columns[2] is False
    assert in_columns[0][0]["neg_category_ids"] == []


def test_classes_are_matched_by_name(tmp_path):
    path = write(tmp_path / "a.json", outlined())
    rules = ReadingRules(classes=("dog", "bird", "cat"))
    in_memory, in_columns = both(path, "images", rules)
    assert_same(in_memory[0], in_columns[0])
    assert in_memory[1:] == in_columns[1:]
    assert {item["category_id"] for record in in_columns[0] for item in record["annotations"]} == {0, 2}
    refused = both(path, "images", ReadingRules(classes=("dog",)))
    assert refused[0] == refused[1]
    assert "the model was not trained on 'cat'" in refused[0]


def test_files_of_another_folder_are_joined_to_it(paths):
    rules = ReadingRules()
    first, second = (read_columns(paths[0], folder, rules).records[0]["file_name"] for folder in ("one", "two/"))
    assert (first, second) == (os.path.join("one", "1.png"), "two/1.png")
    assert read_records(paths[0], "one", rules).records[0]["file_name"] == first


@pytest.mark.slow  # two new processes
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_needs_no_memory_of_its_own(tmp_path):
    """Opening and reading 100,000 boxes takes a few MB of private memory; in memory they are more than 50 MB."""
    path = write_large(tmp_path / "a.json", images=5000, boxes=100_000)
    read_columns(path, "images", ReadingRules())
    assert grown_by(path, "sum(len(record['annotations']) for record in records)", cache=True) < 8
    assert grown_by(path, "len(records)", cache=False) > 40
