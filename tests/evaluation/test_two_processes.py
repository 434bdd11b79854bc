"""Two real processes over gloo: the loader's shares and the evaluator's gathering."""

import itertools
import json
import os
import subprocess
import sys
import textwrap

import pytest

from querydet.data import DetrDatasetMapper, build_train_loader, load_synthetic

SCRIPT = """
import itertools, json, sys
import torch
from detectron2.engine import launch
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from querydet.data import *
from querydet.data.masks import to_bitmap
from querydet.evaluation import CocoEvaluator
from querydet.visualization import instances_of_record
from detectron2.structures import Instances

def masks_of_record(record):
    size = (record["height"], record["width"])
    masks = [torch.from_numpy(to_bitmap(item["segmentation"], *size)) for item in record["annotations"]]
    return torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool)

class Oracle(torch.nn.Module):
    def __init__(self, dataset):
        super().__init__()
        self.truth = {record["image_id"]: instances_of_record(record) for record in dataset}
        self.masks = {record["image_id"]: masks_of_record(record) for record in dataset}

    def forward(self, batch):
        outputs = []
        for item in batch:
            truth = self.truth[item["image_id"]]
            found = Instances(truth.image_size, pred_boxes=truth.gt_boxes, pred_classes=truth.gt_classes)
            found.scores = torch.full((len(truth),), 0.5)
            found.pred_masks = self.masks[item["image_id"]]
            outputs.append({"instances": found})
        return outputs

def main(root):
    dataset = load_synthetic(root, "val", num_images=9, image_size=48, masks=True)
    mapper = DetrDatasetMapper(is_train=True, augmentations=[])
    train = build_train_loader(dataset=dataset, mapper=mapper, total_batch_size=4, num_workers=0)
    seen = [[(s["image_id"], s["seed"]) for s in batch] for batch in itertools.islice(train, 3)]
    test = build_test_loader(dataset=dataset, mapper=mapper, batch_size=2, num_workers=0)
    results = inference_on_dataset(Oracle(dataset), test, CocoEvaluator(dataset=dataset))
    shares = comm.gather(seen)
    if comm.is_main_process():
        precisions = [results[task]["AP"] for task in ("bbox", "segm")]
        json.dump({"shares": shares, "ap": precisions}, open(f"{root}/out.json", "w"))

if __name__ == "__main__":
    launch(main, 2, dist_url="auto", args=(sys.argv[1],))
"""


@pytest.mark.slow
def test_two_processes_see_the_batches_of_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    output = json.loads((tmp_path / "out.json").read_text())
    assert output["ap"] == pytest.approx([100, 100])
    dataset = load_synthetic(str(tmp_path), "val", num_images=9, image_size=48)
    mapper = DetrDatasetMapper(is_train=True, augmentations=[])
    loader = build_train_loader(dataset=dataset, mapper=mapper, total_batch_size=4, num_workers=0)
    batches = [[[s["image_id"], s["seed"]] for s in batch] for batch in itertools.islice(loader, 3)]
    assert output["shares"] == [[batch[rank::2] for batch in batches] for rank in range(2)]
