"""Joined data sets and parts of data sets, from the files to the catalogs."""

import logging
import os
import pickle

import pytest
from detectron2.config import LazyCall as L
from detectron2.data import DatasetCatalog, MetadataCatalog
from omegaconf import OmegaConf

from querydet.data import (
    DetectionDataset,
    build_test_loader,
    build_train_loader,
    choose,
    class_names,
    first,
    join_datasets,
    load_coco,
    without_first,
)
from querydet.data.fingerprint import fingerprint
from querydet.data.sources import json_files, sources_of
from querydet.utils.lazy import instantiate


def moved(content, images=0, annotations=0):
    """The same content with other ids."""
    return {
        **content,
        "images": [{**image, "id": image["id"] + images} for image in content["images"]],
        "annotations": [
            {**item, "id": item["id"] + annotations, "image_id": item["image_id"] + images}
            for item in content["annotations"]
        ],
    }


def annotation_ids(dataset):
    return [item["id"] for record in dataset for item in record["annotations"]]


@pytest.fixture
def load(write_coco):
    return lambda content, name, **options: load_coco(*write_coco(content, name), **options)


def test_images_follow_one_another_and_only_what_collides_has_new_ids(load, coco_json, caplog):
    one, other = load(coco_json, "one"), load(moved(coco_json, images=100), "other")
    with caplog.at_level(logging.INFO):
        joined = join_datasets([one, other])
    assert [record["image_id"] for record in joined] == [7, 9, 12, 107, 109, 112]
    assert annotation_ids(joined) == [0, 5, 6, 7, 12, 13]
    assert [record["file_name"] for record in joined] == [
        record["file_name"] for data in (one, other) for record in data
    ]
    assert "image ids of data set" not in caplog.text
    assert "3 + 3 = 6 images" in caplog.text
    assert annotation_ids(other) == [0, 5, 6], "the parts are changed"
    assert joined.annotated


@pytest.mark.parametrize("cache", [False, True])
def test_files_whose_names_are_no_utf8_are_joined(tmp_path, write_coco, coco_json, caplog, cache):
    annotations, images = write_coco(coco_json)
    path = str(tmp_path / os.fsdecode(b"\xff.json"))
    os.rename(annotations, path)
    caplog.set_level(logging.CRITICAL, "querydet")  # no report of a test can have that name
    dataset = load_coco(path, images, cache=cache)
    joined = join_datasets([first(dataset, 1), without_first(dataset, 1)])
    assert list(joined) == list(dataset)


def test_ids_in_use_move_all_ids_of_the_later_data_set(load, coco_json, caplog):
    datasets = [load(coco_json, "one"), load(moved(coco_json, images=2), "other"), load(coco_json, "third")]
    joined = join_datasets(datasets)
    ids = [record["image_id"] for record in joined]
    assert ids == [7, 9, 12, 13, 15, 18, 19, 21, 24]
    assert "1 image ids of data set" in caplog.text  # 9
    assert "(such as 9): 4 is added" in caplog.text
    assert len(set(annotation_ids(joined))) == 9
    assert "counts twice" not in caplog.text  # the files are others
    for record, original in zip(joined, [record for dataset in datasets for record in dataset], strict=True):
        assert {**record, "image_id": 0, "annotations": 0} == {**original, "image_id": 0, "annotations": 0}
        assert [item["bbox"] for item in record["annotations"]] == [item["bbox"] for item in original["annotations"]]


def test_an_image_in_two_data_sets_is_said(load, coco_json, caplog):
    dataset = load(coco_json, "one")
    joined = join_datasets([dataset, first(dataset, 2)])
    assert len({record["image_id"] for record in joined}) == 5
    assert "2 of 2 compared images" in caplog.text
    assert "a.png): each of them counts twice" in caplog.text


def test_ids_that_do_not_collide_may_be_anything(coco_json, load):
    texts = DetectionDataset([{"image_id": "a", "annotations": []}], load(coco_json, "one").name)
    others = DetectionDataset([{"image_id": 3, "annotations": []}], load(coco_json, "one").name)
    assert [record["image_id"] for record in join_datasets([texts, others], "mixed")] == ["a", 3]
    with pytest.raises(ValueError, match="has the image id 'a', which an earlier one has, too"):
        join_datasets([texts, others, texts], "twice")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: [{**each, "name": each["name"].upper()} for each in found], r"class 0 is 'car' in .*'CAR' in"),
        (lambda found: found[:2], r"class 1 is 'dog' in .*one\.json, but 'toothbrush' in .*other\.json"),
        (lambda found: [*found, {"id": 99, "name": "cow"}], r"class 3 is missing in .*but 'cow' in"),
        (
            lambda found: [{**each, "id": each["id"] + (each["id"] > 50)} for each in found],
            r"'toothbrush' has the category id 90 in .*one\.json, but 91 in .*other\.json",
        ),
        (
            lambda found: [{"id": 100 - each["id"], "name": each["name"]} for each in found],
            r"class 0 is 'car' in .*but 'toothbrush' in",
        ),
    ],
)
def test_categories_that_differ_are_refused_by_the_first_difference(load, coco_json, change, message):
    one = load(coco_json, "one")
    other = {**coco_json, "categories": change(coco_json["categories"]), "annotations": []}
    with pytest.raises(ValueError, match=message):
        join_datasets([one, load(other, "other")])


def test_classes_matched_by_name_take_the_ids_that_a_file_has(load, coco_json):
    names = ["dog", "car", "toothbrush"]
    fewer = {
        **coco_json,
        "categories": coco_json["categories"][1:],
        "annotations": [item for item in coco_json["annotations"] if item["category_id"] != 90],
    }
    joined = join_datasets([load(fewer, "fewer", classes=names), load(coco_json, "all", classes=names)])
    metadata = MetadataCatalog.get(joined.name)
    assert metadata.thing_dataset_id_to_contiguous_id == {18: 0, 3: 1, 90: 2}
    assert metadata.absent_classes == ()
    alone = join_datasets([load(fewer, "fewer", classes=names)])
    metadata = MetadataCatalog.get(alone.name)
    assert metadata.absent_classes == (2,)
    assert sorted(metadata.thing_dataset_id_to_contiguous_id.values()) == [0, 1, 2]


def test_annotated_and_bare_images_are_not_joined(load, coco_json):
    bare = {key: value for key, value in moved(coco_json, images=50).items() if key != "annotations"}
    one, other = load(coco_json, "one"), load(bare, "bare", need_annotations=False)
    with pytest.raises(ValueError, match="lists images alone"):
        join_datasets([one, other])
    assert not join_datasets([other]).annotated
    assert not first(other, 1).annotated


def test_parts_are_disjoint_and_cover_the_data_set(load, coco_json):
    dataset = load(coco_json, "one")
    assert list(first(dataset, 1)) + list(without_first(dataset, 1)) == list(dataset)
    assert list(choose(dataset, 1, 2)) == [dataset[1]]
    assert list(choose(choose(dataset, 1), 1)) == [dataset[2]]
    for start, stop in ((0, 4), (3, None), (-1, 2), (2, 2), (2, 1)):
        with pytest.raises(ValueError, match="has 3 images: images"):
            choose(dataset, start, stop)
    for start, stop in ((0.5, 2), (0, "2"), (False, True), (None, 2)):
        with pytest.raises(ValueError, match="by whole numbers, got start="):
            choose(dataset, start, stop)
    with pytest.raises(ValueError, match="no data sets to join"):
        join_datasets([])
    with pytest.raises(ValueError, match=r"datasets\.1 has to be a loaded data set, .* of type NoneType"):
        join_datasets([dataset, None])
    with pytest.raises(ValueError, match=r"dataset has to be a loaded data set, .* of type list"):
        first([{"image_id": 1}], 1)


def test_parts_are_in_the_catalogs_of_detectron2(load, coco_json):
    one, other = load(coco_json, "one"), load(moved(coco_json, images=100), "other")
    made = {
        "whole": join_datasets([one, without_first(other, 1)]),
        "part": first(one, 2),
        "both": choose(join_datasets([one, other]), 2, 4),
    }
    for dataset in made.values():
        assert DatasetCatalog.get(dataset.name) == list(dataset)
        assert class_names(dataset) == ["car", "dog", "toothbrush"]
        assert MetadataCatalog.get(dataset.name).thing_dataset_id_to_contiguous_id == {3: 0, 18: 1, 90: 2}
        assert MetadataCatalog.get(dataset.name).get("json_file") is None
        assert pickle.loads(pickle.dumps(dataset.records))[1] == dataset[1]
    ranges = {name: [(source.start, source.stop) for source in sources_of(found)] for name, found in made.items()}
    assert ranges == {"whole": [(0, 3), (1, 3)], "part": [(0, 2)], "both": [(2, 3), (0, 1)]}
    files = [MetadataCatalog.get(each.name).json_file for each in (one, other)]
    assert json_files(made["whole"]) == json_files(made["both"].name) == files
    assert len({dataset.name for dataset in (one, other, *made.values())}) == 5


def test_a_name_of_other_data_is_refused(load, coco_json):
    one, other = load(coco_json, "one"), load(moved(coco_json, images=100), "other")
    for _ in range(2):
        assert join_datasets([one, other], "of_two").name == "of_two"
    with pytest.raises(ValueError, match="'of_two' is taken"):
        first(one, 2, "of_two")
    with pytest.raises(ValueError, match="is taken"):
        first(one, 2, one.name)


def test_nodes_of_a_config_nest(write_coco, coco_json):
    nodes = [
        L(load_coco)(annotations=annotations, images=images)
        for annotations, images in (write_coco(coco_json, "one"), write_coco(moved(coco_json, images=100), "other"))
    ]
    cfg = OmegaConf.create(
        {"dataset": L(join_datasets)(datasets=[nodes[0], L(without_first)(dataset=nodes[1], count=2)])},
        flags={"allow_objects": True},
    )
    assert [record["image_id"] for record in instantiate(cfg.dataset)] == [7, 9, 12, 112]


def test_the_fingerprint_is_of_the_records_and_files(load, coco_json):
    class Loaded:
        def __init__(self, dataset):
            self.name, self.record, self.__len__ = dataset.name, dataset.__getitem__, dataset.__len__
            self.length = len(dataset)

        def __len__(self):
            return self.length

    one, other = load(coco_json, "one"), load(moved(coco_json, images=100), "other")
    joined = fingerprint(Loaded(join_datasets([one, other])))
    assert (joined["images"], joined["objects"], joined["categories"]) == (6, 6, 3)
    assert joined["annotations"] == ", ".join(json_files(join_datasets([one, other])))
    assert joined["annotations_sha256"] != fingerprint(Loaded(one))["annotations_sha256"]


def as_sample(record):
    return {"image_id": record["image_id"], "ids": [item["id"] for item in record["annotations"]]}


@pytest.mark.parametrize("cache", [False, True])
def test_data_workers_read_what_the_process_reads(load, coco_json, cache):
    parts = [load(coco_json, "one", cache=cache), load(moved(coco_json, images=3), "other", cache=cache)]
    joined = join_datasets([parts[0], without_first(parts[1], 1)])
    options = {"dataset": joined, "mapper": as_sample, "total_batch_size": 5}
    first_batch, second_batch = (next(iter(build_train_loader(**options, num_workers=count))) for count in (0, 2))
    assert first_batch == second_batch
    assert {sample["image_id"] for sample in first_batch} == {record["image_id"] for record in joined}
    tested = [
        sample for batch in build_test_loader(dataset=joined, mapper=as_sample, num_workers=2) for sample in batch
    ]
    assert tested == [as_sample(record) for record in joined]
