"""What a correct COCO json becomes, and repairs and missing files that loading reports."""

import logging
import math
import os
import pickle

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from querydet.data import DetectionDataset, build_train_loader, class_names, load_coco
from tests.data.storages import pytest_generate_tests  # noqa: F401


def load(write_coco, content, **options):
    return load_coco(*write_coco(content), **options)


def test_dicts_are_detectron2s(write_coco, coco_json):
    annotations, images = write_coco(coco_json)
    dataset = load_coco(annotations, images)
    assert [record["image_id"] for record in dataset] == [7, 9, 12]
    first = dataset[0]
    assert first["file_name"] == os.path.join(images, "a.png")
    assert (first["height"], first["width"]) == (30, 40)
    assert first["annotations"][0] == {
        "bbox": [1.0, 2.0, 10.0, 20.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 2,
        "iscrowd": 0,
        "area": 123.0,
        "id": 0,
    }


def test_category_ids_with_gaps_become_contiguous_in_id_order(write_coco, coco_json):
    dataset = load(write_coco, coco_json)
    assert class_names(dataset) == ["car", "dog", "toothbrush"]
    assert [item["category_id"] for record in dataset for item in record["annotations"]] == [2, 0, 1]


def test_images_without_objects_and_crowd_regions_stay(write_coco, coco_json):
    dataset = load(write_coco, coco_json)
    assert dataset[2]["annotations"] == []
    assert dataset[0]["annotations"][1]["iscrowd"] == 1


def test_missing_area_is_the_boxs(write_coco, coco_json):
    assert load(write_coco, coco_json)[1]["annotations"][0]["area"] == 72


def test_registered_for_detectron2(write_coco, coco_json):
    annotations, images = write_coco(coco_json)
    dataset = load_coco(annotations, images)
    assert DatasetCatalog.get(dataset.name) == list(dataset)
    metadata = MetadataCatalog.get(dataset.name)
    assert metadata.thing_classes == ["car", "dog", "toothbrush"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 18: 1, 90: 2}
    assert (metadata.json_file, metadata.image_root) == (annotations, images)


def test_loading_twice_gives_one_name(write_coco, coco_json):
    paths = write_coco(coco_json)
    assert load_coco(*paths).name == load_coco(*paths).name
    other = write_coco(coco_json, "val")
    assert load_coco(*other).name != load_coco(*paths).name


def test_a_changed_file_is_read_again(write_coco, coco_json):
    paths = write_coco(coco_json)
    load_coco(*paths)
    coco_json["categories"][1]["name"] = "automobile"
    write_coco(coco_json)
    assert class_names(load_coco(*paths))[0] == "automobile"


def test_a_name_cannot_be_taken_twice(write_coco, coco_json, storage):
    load(write_coco, coco_json, name=f"taken_by_{storage}")
    with pytest.raises(ValueError, match="is taken by json_file"):
        load_coco(*write_coco(coco_json, "val"), name=f"taken_by_{storage}")


def test_dataset_survives_pickling(write_coco, coco_json):
    dataset = load(write_coco, coco_json)
    copied = pickle.loads(pickle.dumps(dataset))
    assert isinstance(copied, DetectionDataset)
    assert (list(copied), copied.name) == (list(dataset), dataset.name)


def test_repairs_are_counted_and_named_once(write_coco, coco_json, caplog):
    boxes = [[-9, 0, 20, 20], [math.nan] * 4, [1, 1, 0, 3], [99, 99, 5, 5]]
    coco_json["annotations"] = [
        {"id": 100 + index, "image_id": 7, "category_id": 3, "bbox": box} for index, box in enumerate(boxes)
    ]
    paths = write_coco(coco_json)
    with caplog.at_level(logging.WARNING):
        dataset = load_coco(*paths)
        load_coco(*paths)
    assert [item["bbox"] for item in dataset[0]["annotations"]] == [[0, 0, 11, 20]]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 4
    for identifier, reason in ((100, "clipped"), (101, "NaN or infinite"), (102, "zero or negative"), (103, "outside")):
        assert any("1 boxes" in m and reason in m and f"annotations {identifier}" in m for m in messages), reason


def test_missing_image_files_are_named(write_coco, coco_json):
    annotations, images = write_coco(coco_json)
    os.remove(os.path.join(images, "b.png"))
    with pytest.raises(FileNotFoundError, match=r"image file does not exist: .*b\.png"):
        load_coco(annotations, images)
    assert len(load_coco(annotations, images, check_files=False)) == 3


def test_missing_image_folder_is_named(write_coco, coco_json):
    annotations, images = write_coco(coco_json)
    with pytest.raises(
        FileNotFoundError, match=r"nowhere does not exist: check dataloader\.{train,test}\.dataset\.images"
    ):
        load_coco(annotations, images.replace("train_images", "nowhere"))


@pytest.mark.parametrize(
    ("crowd", "message"), [(1, "all 2 objects are crowd regions"), (None, "no image has any object")]
)
def test_nothing_to_train_on_is_said(write_coco, coco_json, caplog, crowd, message):
    coco_json["annotations"] = [
        {"id": index, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "iscrowd": crowd}
        for index in range(2 if crowd else 0)
    ]
    load(write_coco, coco_json)
    assert message in caplog.text


def test_a_file_of_images_alone_is_tested_on_but_not_trained_on(write_coco, coco_json):
    del coco_json["annotations"]
    paths = write_coco(coco_json)
    with pytest.raises(ValueError, match=r"'annotations' \(the file lists images alone.*not trained on\)"):
        load_coco(*paths)
    dataset = load_coco(*paths, need_annotations=False)
    assert (len(dataset), dataset.annotated) == (3, False)
    with pytest.raises(ValueError, match="without annotations: it can be evaluated, not trained on"):
        build_train_loader(dataset=dataset, mapper=None, total_batch_size=1)


@pytest.mark.parametrize(
    "convert", [lambda x, y, w, h: [x, y, x + w, y + h], lambda x, y, w, h: [x / 40, y / 30, w / 40, h / 30]]
)
def test_boxes_of_another_kind_stop_with_the_name_of_the_fault(write_coco, coco_json, convert):
    boxes = [[20, 3, 8, 9], [1, 14, 9, 12], [22, 18, 11, 10], [24, 15, 7, 14]]
    coco_json["annotations"] = [
        {"id": index, "image_id": 7, "category_id": 3, "bbox": convert(*box)} for index, box in enumerate(boxes)
    ]
    with pytest.raises(ValueError, match=r"bbox has (corners|fractions).*\n.*--write-fixed"):
        load(write_coco, coco_json)
    assert len(load(write_coco, coco_json, check_boxes=False)[0]["annotations"]) == 4


def test_a_data_set_without_a_path_is_named(write_coco, coco_json):
    annotations, images = write_coco(coco_json)
    with pytest.raises(ValueError, match="the data set has no annotations"):
        load_coco(None, images)
    with pytest.raises(ValueError, match="the data set has no images"):
        load_coco(annotations, None)


def test_an_area_that_is_a_text_is_that_area(write_coco, coco_json):
    coco_json["annotations"][0]["area"] = "123.5"
    assert load(write_coco, coco_json)[0]["annotations"][0]["area"] == 123.5
