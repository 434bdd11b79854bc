"""The ground truth as COCO's json: ids, repaired boxes, order of the images."""

import itertools

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog

from querydet.data import first, join_datasets, without_first
from querydet.data.mask_targets import HAS_MASKS
from querydet.evaluation.coco_backend import CocoBackend
from querydet.evaluation.coco_truth import CocoTruth, annotation_masks, category_ids, ground_truth
from querydet.utils.run_lengths import encode_masks
from tests.evaluation.hand_made import make_dataset
from tests.evaluation.masked import random_dataset, truth_masks

BOX = [10.0, 20.0, 30.0, 40.0]


def with_ids(dataset, *ids):
    for record, image_id in zip(dataset, ids, strict=True):
        record["image_id"] = image_id
    return dataset


def test_ids_are_those_of_the_json():
    dataset = with_ids(make_dataset([BOX], [{"bbox": BOX, "category_id": 2, "iscrowd": 1, "area": 7.0}]), 70, 3)
    MetadataCatalog.get(dataset.name).thing_dataset_id_to_contiguous_id = {40: 0, 10: 1, 30: 2}
    assert category_ids(dataset) == [40, 10, 30]
    api = ground_truth(dataset)
    assert sorted(api.imgs) == [3, 70]
    one, other = (api.anns[number] for number in (1, 2))
    assert (one["image_id"], one["category_id"], one["bbox"], one["area"]) == (70, 40, BOX, 1200)
    assert (other["category_id"], other["iscrowd"], other["area"]) == (30, 1, 7)


def test_classes_without_ids_have_their_index():
    assert category_ids(make_dataset([BOX], classes=2)) == [0, 1]


def test_images_are_numbered_in_the_order_of_their_ids():
    truth = CocoTruth(with_ids(make_dataset([BOX], [], [BOX]), 2**60 + 5, 7, 2**60))
    assert [truth.number(image_id) for image_id in (7, 2**60, 2**60 + 5)] == [1, 2, 3]
    assert [image["id"] for image in truth.content["images"]] == [3, 1, 2]
    assert [item["image_id"] for item in truth.content["annotations"]] == [3, 2]


def test_detections_are_compared_by_the_ids_of_the_data_set():
    truth = CocoTruth(with_ids(make_dataset([BOX], [BOX]), 50, 40))
    row = np.array([[*BOX, 0.5, 0.0]])
    curves = truth.evaluate(CocoBackend("pycocotools"), {40: row}, (1, 10, 100))
    assert 0.4 < curves.twelve()["AP"] < 0.6
    assert truth.evaluate(CocoBackend("pycocotools"), {40: row}, (1, 10, 100), [40]).twelve()["AP"] == pytest.approx(1)
    assert truth.evaluate(CocoBackend("pycocotools"), {50: row}, (1, 10, 100), [40]).twelve()["AP"] == 0


def test_every_annotation_has_its_pixels_as_run_lengths_computed_once():
    dataset = random_dataset(3)
    truth = CocoTruth(dataset)
    assert truth.has_masks
    expected = [encode_masks(torch.from_numpy(np.stack(masks))) for masks in map(truth_masks, dataset) if masks]
    items = truth.content_with_masks["annotations"]
    assert [item["segmentation"] for item in items] == list(itertools.chain(*expected))
    assert [{**item, "segmentation": None} for item in items] == [
        {**item, "segmentation": None} for item in truth.content["annotations"]
    ]
    assert truth.content_with_masks["annotations"] is items
    assert "segmentation" not in truth.content["annotations"][0]


def test_a_data_set_has_masks_or_none():
    assert not CocoTruth(make_dataset([BOX], [])).has_masks
    assert not CocoTruth(make_dataset([], [])).has_masks


def test_images_without_objects_may_have_masks():
    dataset = make_dataset([], [])
    dataset[0][HAS_MASKS] = True
    assert CocoTruth(dataset).has_masks


def test_a_mask_that_cannot_be_used_is_named():
    good, bad = {"size": [100, 200], "counts": "Pac0"}, {"size": [200, 100], "counts": "Pac0"}
    dataset = make_dataset([], [{"bbox": BOX, "segmentation": good}, {"bbox": BOX, "segmentation": bad, "id": 17}])
    with pytest.raises(ValueError, match=r"image 2, annotation 17: segmentation .*size"):
        annotation_masks(dataset[1])


def test_a_part_of_a_data_set_is_compared_with_the_objects_of_its_images_alone():
    dataset = make_dataset([BOX], [BOX, BOX], [BOX])
    for part, ids in ((first(dataset, 2), [1, 2]), (without_first(dataset, 2), [3])):
        assert sorted(ground_truth(part).imgs) == ids
        truth = CocoTruth(part)
        perfect = {
            image_id: np.array([[*BOX, 0.9, 0.0]] * len(dataset[image_id - 1]["annotations"])) for image_id in ids
        }
        assert truth.evaluate(CocoBackend("pycocotools"), perfect, (1, 10, 100)).twelve()["AP"] == pytest.approx(1)
    joined = join_datasets([dataset, first(dataset, 1)])
    assert sorted(ground_truth(joined).imgs) == [1, 2, 3, 4]
