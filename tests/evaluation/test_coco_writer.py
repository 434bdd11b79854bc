"""The json that detections are written to."""

import json

import pytest
import torch
from detectron2.structures import Boxes, Instances

from querydet.data import load_coco
from querydet.evaluation import CocoWriter, coco_writer
from querydet.utils.run_lengths import decode_masks, encode_masks


def detections(boxes, size=(30, 40)):
    """Detections of falling scores, of the classes 1, 0, 1 ..."""
    count = len(boxes)
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=0.8 - 0.1 * torch.arange(count),
        pred_classes=(torch.arange(count) + 1) % 2,
    )


BOXES = [[3, 3, 8, 8], [1, 2, 5, 9]]


def test_written_detections_are_a_coco_data_set(tmp_path):
    writer = CocoWriter(["cat", "dog"], [3, 17])
    writer.add("a.jpg", detections(BOXES))
    writer.add("b.jpg", detections([]))
    path = str(tmp_path / "new" / "detections.json")
    writer.save(path)
    with open(path) as file:
        content = json.load(file)
    assert content["annotations"][0] == {
        "id": 1, "image_id": 1, "category_id": 17, "bbox": [3, 3, 5, 5], "area": 25, "iscrowd": 0, "score": 0.8
    }  # fmt: skip
    assert content["categories"] == [{"id": 3, "name": "cat"}, {"id": 17, "name": "dog"}]
    dataset = load_coco(path, str(tmp_path), check_files=False)
    assert [len(record["annotations"]) for record in dataset] == [2, 0]
    assert (dataset[0]["height"], dataset[0]["width"]) == (30, 40)


@pytest.mark.parametrize("name", ["pred_masks", "pred_masks_rle"])
def test_masks_are_written_with_their_areas(name, tmp_path):
    masks = torch.rand(2, 30, 40, generator=torch.Generator().manual_seed(0)) < 0.3
    found = detections(BOXES)
    found.set(name, masks if name == "pred_masks" else encode_masks(masks))
    writer = CocoWriter(["cat", "dog"], [3, 17])
    writer.add("a.jpg", found)
    writer.save(str(tmp_path / "detections.json"))
    items = json.loads((tmp_path / "detections.json").read_text())["annotations"]
    assert torch.equal(decode_masks([item["segmentation"] for item in items], 30, 40), masks)
    assert [item["area"] for item in items] == masks.sum((1, 2)).tolist()


def test_many_detections_are_kept_on_the_disk_and_written_all_the_same(tmp_path, monkeypatch):
    texts = []
    for limit in (coco_writer.IN_MEMORY, 1000):
        monkeypatch.setattr(coco_writer, "IN_MEMORY", limit)
        writer = CocoWriter(["cat", "dog"], [1, 2], str(tmp_path))
        for number in range(20):
            writer.add(f"ä {number}.jpg", detections(BOXES * (number % 3)))
        assert writer._annotations._file._rolled == (limit == 1000)
        writer.save(str(tmp_path / "detections.json"))
        texts.append((tmp_path / "detections.json").read_text())
        writer.add("last.jpg", detections(BOXES))
        writer.save(str(tmp_path / "detections.json"))
        content = json.loads((tmp_path / "detections.json").read_text())
        assert [image["id"] for image in content["images"]] == list(range(1, 22))
        assert [item["id"] for item in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
    assert texts[0] == texts[1]
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]  # temporary files have no names


def test_without_images_the_file_is_a_coco_json_too(tmp_path):
    CocoWriter(["cat"], [1]).save(str(tmp_path / "detections.json"))
    content = json.loads((tmp_path / "detections.json").read_text())
    assert content == {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
