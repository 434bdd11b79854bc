"""Objects365: where its files lie, images and objects that are left out, and the first images of val."""

import logging
import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from querydet.data import class_names, load_objects365
from querydet.data.objects365 import MISSING_IMAGES
from querydet.data.record_columns import COLUMNS, column
from tests.data.objects365 import CATEGORIES, make_content, write


@pytest.mark.parametrize(("stripped", "rule"), [(True, "last_two"), (False, "file_name")])
def test_images_are_found_under_whole_and_short_names(tmp_path, caplog, stripped, rule):
    paths = write(tmp_path, make_content([3, 1, 2]), stripped=stripped)
    with caplog.at_level(logging.INFO):
        dataset = load_objects365(*paths)
    assert all(os.path.isfile(record["file_name"]) for record in dataset)
    assert [record["image_id"] for record in dataset] == [3, 1, 2]
    assert f"(file_names={rule})" in caplog.text
    assert list(load_objects365(*paths, file_names=rule)) == list(dataset)
    other = {"last_two": "file_name", "file_name": "last_two"}[rule]
    with pytest.raises(FileNotFoundError, match="3 of 3 image files do not exist"):
        load_objects365(*paths, file_names=other)


def test_ids_become_indices_and_data_are_in_the_catalogs(tmp_path, caplog):
    content = make_content([1, 2])
    paths = write(tmp_path, content)
    dataset = load_objects365(*paths)
    found = [item["category_id"] for record in dataset for item in record["annotations"]]
    assert found == [item["category_id"] - 1 for item in content["annotations"]]
    assert class_names(dataset) == [category["name"] for category in CATEGORIES]
    assert DatasetCatalog.get(dataset.name) == list(dataset)
    metadata = MetadataCatalog.get(dataset.name)
    assert (metadata.json_file, metadata.image_root) == paths
    assert "are not those of Objects365" not in caplog.text
    write(
        tmp_path, {**content, "categories": [{**each, "id": each["id"] + 1} for each in CATEGORIES], "annotations": []}
    )
    load_objects365(*paths)
    assert "are not those of Objects365" in caplog.text


def test_crowd_regions_keep_their_mark_and_drawings_are_objects(tmp_path):
    content = make_content([1])
    content["annotations"][0]["iscrowd"] = 1
    (record,) = load_objects365(*write(tmp_path, content))
    assert [item["iscrowd"] for item in record["annotations"]] == [1, 0, 0]


def with_missing(tmp_path):
    """Images 1 to 5, of which 2 has the name of an image that no archive has, and 2 and 4 have no file."""
    content = make_content([1, 2, 3, 4, 5])
    content["images"][1]["file_name"] = f"images/v2/{MISSING_IMAGES[0]}"
    paths = write(tmp_path, content)
    for name in (content["images"][1]["file_name"], content["images"][3]["file_name"]):
        os.remove(os.path.join(paths[1], *name.split("/")[-2:]))
    return paths


def test_images_that_no_archive_has_are_left_out_and_others_are_refused(tmp_path, caplog):
    paths = with_missing(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"1 of 4 image files do not exist, such as .*00000004.jpg. missing_images"
    ):
        load_objects365(*paths)
    assert "1 images without a file are left out, such as" in caplog.text
    dataset = load_objects365(*paths, check_files=False)
    assert [record["image_id"] for record in dataset] == [1, 3, 4, 5]
    caplog.clear()
    dataset = load_objects365(*paths, missing_images="all")
    assert [record["image_id"] for record in dataset] == [1, 3, 5]
    assert "2 images without a file are left out, such as" in caplog.text


def test_a_folder_without_the_images_is_refused(tmp_path):
    annotations, images = write(tmp_path, make_content([1, 2]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"of 2 images .* none exists, neither under its whole name"):
        load_objects365(annotations, str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="no image file exists"):
        load_objects365(annotations, str(tmp_path / "empty"), file_names="last_two", missing_images="all")
    with pytest.raises(FileNotFoundError, match=r"image folder .*nowhere does not exist"):
        load_objects365(annotations, str(tmp_path / "nowhere"))
    assert images


def test_objects_that_are_annotated_twice_are_kept_or_dropped_and_counted(tmp_path, caplog):
    content = make_content([1, 2])
    items = content["annotations"]
    items += [{**items[0], "id": 100}, {**items[0], "id": 101}, {**items[3], "id": 102, "image_id": 1}]
    items += [{**items[1], "id": 103, "iscrowd": 1}]
    paths = write(tmp_path, content)

    def ids(**options):
        return [[item["id"] for item in record["annotations"]] for record in load_objects365(*paths, **options)]

    assert ids() == [[1, 2, 3, 100, 101, 102, 103], [4, 5, 6]]
    assert "annotated twice" not in caplog.text
    assert ids(duplicates="drop") == [[1, 2, 3, 102, 103], [4, 5, 6]]
    assert "2 objects that are annotated twice are left out" in caplog.text


def test_large_files_are_read_as_small_ones(tmp_path):
    """All rules together, on columns and on lists."""
    content = make_content([*range(1, 8)])
    content["annotations"] += [{**item, "id": item["id"] + 100} for item in content["annotations"][::4]]
    content["images"][2]["file_name"] = f"images/v2/{MISSING_IMAGES[0]}"
    paths = write(tmp_path, content)
    os.remove(os.path.join(paths[1], "patch0", "objects365_v1_00000005.jpg"))
    small, large = (
        load_objects365(*paths, cache=cache, missing_images="all", duplicates="drop") for cache in (False, True)
    )
    assert list(small) == list(large)
    assert [record["image_id"] for record in small] == [1, 2, 3, 4, 6, 7]
    for name in COLUMNS:
        assert column(small, name).tolist() == column(large, name).tolist(), name
    digests = [each.records.digests for each in (small, large)]
    assert all(digest["objects"] == 18 for digest in digests)
    assert len({digest["records_sha256"] for digest in digests}) == 1


@pytest.mark.parametrize("option", ["file_names", "missing_images", "duplicates"])
def test_unknown_options_are_refused(tmp_path, option):
    with pytest.raises(ValueError, match=f"{option} of Objects365 has to be one of .*, got 'no'"):
        load_objects365("no.json", "no", **{option: "no"})
