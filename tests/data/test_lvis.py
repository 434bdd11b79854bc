"""LVIS as it is published, in both versions."""

import copy

import pytest
from detectron2.data import MetadataCatalog

from querydet.data import class_names, load_lvis
from querydet.data.class_counts import image_counts
from tests.lvis_vectors import lvis_vectors, write_lvis


@pytest.fixture
def content():
    """A json of version 1."""
    return copy.deepcopy(lvis_vectors()["ground_truth"])


def load(folder, content, **options):
    return load_lvis(write_lvis(folder, content), "coco", check_files=False, **options)


def test_images_of_both_folders_are_found_by_their_address(tmp_path, content):
    assert not any("file_name" in image for image in content["images"])
    names = [record["file_name"] for record in load(tmp_path, content)]
    assert names[:2] == ["coco/val2017/000000001000.jpg", "coco/train2017/000000001007.jpg"]


def test_a_missing_image_is_named_with_its_folder(tmp_path, content):
    (tmp_path / "coco").mkdir()
    with pytest.raises(FileNotFoundError, match=r"train2017/000000001007\.jpg"):
        load_lvis(write_lvis(tmp_path, content), str(tmp_path / "coco"))


def test_version_0_5_names_files_otherwise(tmp_path, content):
    for image in content["images"]:
        image["file_name"] = f"COCO_val2014_{image['id']:012}.jpg"
    assert load(tmp_path, content)[1]["file_name"] == "coco/train2017/000000001007.jpg"
    for image in content["images"]:
        del image["coco_url"]
    assert load(tmp_path, content)[1]["file_name"] == "coco/000000001007.jpg"


def test_lists_and_frequencies_are_of_class_indices(tmp_path, content):
    """Category c has index c - 1, as in the published files, or any other."""
    dataset = load(tmp_path, content)
    image = content["images"][1]
    assert dataset[1]["neg_category_ids"] == sorted(number - 1 for number in image["neg_category_ids"]) != []
    assert dataset[1]["not_exhaustive_category_ids"] == [5, 7]
    metadata = MetadataCatalog.get(dataset.name)
    assert metadata.class_frequency == [category["frequency"] for category in content["categories"]]
    assert class_names(dataset) == [category["name"] for category in content["categories"]]


def test_counts_of_images_are_those_of_the_json(tmp_path, content):
    counts = [category["image_count"] for category in content["categories"]]
    assert image_counts(load(tmp_path, content)).tolist() == counts


def test_large_files_are_read_alike(tmp_path, content, monkeypatch):
    """As columns that all processes share."""
    monkeypatch.setenv("QUERYDET_CACHE", str(tmp_path / "cache"))
    listed, columns = (load(tmp_path, content, cache=cache, name=f"lvis_{cache}") for cache in (False, True))
    assert list(columns) == list(listed)
    assert type(columns.records) is not type(listed.records)
    assert image_counts(columns).tolist() == image_counts(listed).tolist()
    frequencies = [MetadataCatalog.get(dataset.name).class_frequency for dataset in (listed, columns)]
    assert frequencies[0] == frequencies[1] != []


@pytest.mark.parametrize("cache", [False, True])
def test_files_of_test_sets_have_neither_annotations_nor_lists(tmp_path, content, cache, monkeypatch):
    monkeypatch.setenv("QUERYDET_CACHE", str(tmp_path / "cache"))
    del content["annotations"]
    for image in content["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    dataset = load(tmp_path, content, need_annotations=False, cache=cache)
    assert not dataset.annotated
    assert dataset[0]["neg_category_ids"] == []
    with pytest.raises(ValueError, match="missing list at the top level"):
        load(tmp_path, content)


def test_what_is_not_of_lvis_is_refused(tmp_path, content):
    del content["images"][3]["neg_category_ids"]
    with pytest.raises(ValueError, match="neg_category_ids is missing: image 1021"):
        load(tmp_path, content)
    content["images"][3]["neg_category_ids"] = [999]
    with pytest.raises(ValueError, match=r"neg_category_ids has unknown categories: image 1021 \(999\)"):
        load(tmp_path, content)
    content["images"][3]["neg_category_ids"] = []
    del content["categories"][2]["frequency"]
    with pytest.raises(ValueError, match="is not of LVIS: every category needs a frequency"):
        load(tmp_path, content)
