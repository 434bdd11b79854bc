"""Files for COCO's server: their names, their form, and what is in them."""

import json
import os
import zipfile

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from querydet.data import DetectionDataset, first, join_datasets, load_coco
from querydet.evaluation import SubmissionWriter
from querydet.evaluation.image_detections import ImageDetections
from querydet.evaluation.submission import split_of, write_submission
from tests.data import conftest

coco_json, write_coco = conftest.coco_json, conftest.write_coco  # fixtures
TEST_DEV = "image_info_test-dev2017"


@pytest.fixture
def test_dev(write_coco, coco_json):
    """Images alone, as COCO publishes those of test-dev."""
    content = {"info": {"year": 2017}, "licenses": [{"id": 1}], **coco_json}
    del content["annotations"]
    content["images"] = [{**image, "license": 1, "coco_url": "", "date_captured": ""} for image in content["images"]]
    return load_coco(*write_coco(content, TEST_DEV), need_annotations=False)


def read(path):
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return name, json.loads(archive.read(name))


def detections(boxes, scores, labels, size=(30, 40)):
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor(boxes))
    instances.scores, instances.pred_classes = torch.tensor(scores), torch.tensor(labels)
    return {"instances": instances}


def test_detections_are_written_with_the_ids_of_the_json_and_rounded(test_dev, tmp_path, caplog):
    writer = SubmissionWriter(dataset=test_dev, name="my-detector", output_dir=str(tmp_path / "out"))
    writer.reset()
    output = detections([[1.04, 2.0, 11.26, 20.0], [0.0, 0.0, 5.0, 5.0]], [0.123456789, 0.5], [0, 2])
    writer.process([{"image_id": 7}, {"image_id": 9}], [output, detections(np.zeros((0, 4)), [], [], (50, 20))])
    assert writer.evaluate() == {}
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "detections_test-dev2017_my-detector_results.zip"
    name, entries = read(path)
    assert name == "detections_test-dev2017_my-detector_results.json"
    assert entries == [
        {"image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 10.2, 18.0], "score": 0.123457},
        {"image_id": 7, "category_id": 90, "bbox": [0.0, 0.0, 5.0, 5.0], "score": 0.5},
    ]
    assert f"2 detections in 3 images are in {path}" in caplog.text


def test_the_name_of_the_images_is_that_of_the_json_unless_it_is_given(test_dev, write_coco, coco_json, tmp_path):
    assert split_of(test_dev) == split_of(first(test_dev, 1)) == "test-dev2017"
    assert split_of(load_coco(*write_coco(coco_json, "instances_val2017"))) == "val2017"
    assert split_of(load_coco(*write_coco(coco_json, "my val_(set)"))) == "my-val-set-"
    assert split_of(DetectionDataset([], "no files")) == ""
    writer = SubmissionWriter(dataset=test_dev, output_dir=str(tmp_path), split="other")
    assert writer.file_name == "detections_other_querydet_results"


@pytest.mark.parametrize("name", ["", "a/b", "a_b", "a b", "../a", None])
def test_names_that_the_server_cannot_read_are_refused(test_dev, tmp_path, name):
    with pytest.raises(ValueError, match="the name of a submission has to be of letters"):
        SubmissionWriter(dataset=test_dev, name=name, output_dir=str(tmp_path))


def test_a_folder_is_needed_from_the_start(test_dev):
    with pytest.raises(ValueError, match=r"set dataloader\.evaluator\.output_dir"):
        SubmissionWriter(dataset=test_dev)


def test_joined_data_are_refused_as_their_ids_may_be_others(test_dev, tmp_path):
    with pytest.raises(ValueError, match="of images of one file"):
        SubmissionWriter(dataset=join_datasets([test_dev, test_dev]), output_dir=str(tmp_path))


def test_classes_that_the_json_lacks_are_left_out_and_no_detections_are_a_file_too(tmp_path):
    rows = {7: ImageDetections(np.array([[1, 2, 3, 4, 0.5, 0], [5, 6, 7, 8, 0.25, 1]]))}
    path = str(tmp_path / "a" / "x.zip")
    assert write_submission(path, rows, [40, 30], absent=(1,)) == 1
    assert read(path)[1] == [{"image_id": 7, "category_id": 40, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]
    assert write_submission(path, {}, [40, 30]) == 0
    assert read(path) == ("x.json", [])
    assert os.listdir(tmp_path / "a") == ["x.zip"]
