"""COCO box AP through Detectron2's evaluator and the official pycocotools.

Different from Detectron2's ``COCOEvaluator``:

* The ground truth is the loaded data set itself, so that repaired boxes count as repaired, and the annotation ids are
  counted from 1 (pycocotools takes a match with annotation 0 for none).
* NaN and infinite boxes or scores are dropped and counted: pycocotools counts a NaN box as a match.
* No predictions give AP 0, and a metric without ground truth is -1 as in COCO; Detectron2 has NaN for both.
* The compiled ``detectron2._C`` is never used.
"""

import contextlib
import copy
import io
import logging
import math
import os
from collections import OrderedDict
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.evaluation.coco_evaluation import COCOevalMaxDets
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from querydet.data.catalog import DetectionDataset, class_names

logger = logging.getLogger(__name__)

MAX_DETECTIONS = 100  # COCO: detections of an image and class that count


class CocoEvaluator(COCOEvaluator):
    """AP, AP50, AP75, APs, APm, APl and AP of every class, in percent, and ``nonfinite_detections``.

    In runs of several processes the rank-sharded predictions are gathered; the results are on rank 0.

    Args:
        dataset: the loaded data set (`querydet.data.load_coco`), ground truth of the evaluation.
        output_dir: folder for the detections in COCO json, nothing is written if None.
        max_dets_per_image: highest scoring detections of an image and class that count.
        distributed: gather the predictions of all processes; False evaluates this process' own.

    Raises:
        ValueError: the data set has no images or no class names.
    """

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        output_dir: str | None = None,
        max_dets_per_image: int = MAX_DETECTIONS,
        distributed: bool = True,
    ) -> None:
        if not len(dataset):
            raise ValueError("cannot evaluate on a data set without images")
        self._class_names = class_names(dataset)
        # The parent's constructor is not called: it reads the json file a second time, without the repairs.
        self._logger = logger
        self._distributed = distributed
        self._output_dir = output_dir
        self._use_fast_impl = False
        self._max_dets_per_image = [1, 10, max_dets_per_image]
        self._tasks = ("bbox",)
        self._cpu_device = torch.device("cpu")
        self._metadata = MetadataCatalog.get(dataset.name)
        self._do_evaluation = True
        self._kpt_oks_sigmas = ()
        self._coco_api = ground_truth(dataset)
        self._predictions: list[dict[str, Any]] = []
        self._results: OrderedDict[str, dict[str, float]] = OrderedDict()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Keeps the finite detections of some images.

        Args:
            inputs: the model's inputs; ``image_id`` is used.
            outputs: for each input ``{"instances": Instances}`` with ``pred_boxes`` (XYXY, pixels of the file's image),
                ``scores`` and ``pred_classes``.

        Raises:
            ValueError: an image that is not of the data set, or a class index that the data set does not have.
        """
        finite_outputs = []
        counts = []
        for record, output in zip(inputs, outputs, strict=True):
            image_id = record["image_id"]
            if image_id not in self._coco_api.imgs:
                raise ValueError(f"image id {image_id} is not in data set '{self._metadata.name}' being evaluated")
            finite, dropped = drop_nonfinite(output["instances"].to(self._cpu_device))
            self._check_classes(finite, image_id)
            finite_outputs.append({"instances": finite})
            counts.append(dropped)
        super().process(inputs, finite_outputs)
        for prediction, dropped in zip(self._predictions[len(self._predictions) - len(counts) :], counts, strict=True):
            prediction["nonfinite"] = dropped

    def evaluate(self, img_ids: list[int] | None = None) -> dict[str, dict[str, float]]:
        """Evaluates what was processed.

        Args:
            img_ids: ids of the images to evaluate on, all of the data set if None.

        Returns:
            ``{"bbox": {metric: value}}`` on rank 0, ``{}`` on the others.
        """
        results = super().evaluate(img_ids)
        if results or (self._distributed and not comm.is_main_process()):
            return results
        if self._output_dir:
            os.makedirs(self._output_dir, exist_ok=True)
        self._results = OrderedDict()  # no image was processed: Detectron2 gives up, COCO says AP 0
        self._eval_predictions([], img_ids)
        return copy.deepcopy(self._results)

    def _eval_predictions(self, predictions: list[dict[str, Any]], img_ids: list[int] | None = None) -> None:
        nonfinite = {p["image_id"]: p["nonfinite"] for p in predictions if p["nonfinite"]}
        if nonfinite:
            shown = ", ".join(str(image_id) for image_id in list(nonfinite)[:10])
            logger.warning("dropped %d NaN or infinite detections, in images %s", sum(nonfinite.values()), shown)
        if any(prediction["instances"] for prediction in predictions):
            # a copy: the parent writes the json's category ids into the predictions, which a second call would repeat
            super()._eval_predictions(
                [{**p, "instances": [dict(item) for item in p["instances"]]} for p in predictions], img_ids
            )
        else:
            logger.warning("no detections in %d images", len(predictions))
            coco_eval = self._evaluate_nothing(img_ids)
            self._results["bbox"] = self._derive_coco_results(coco_eval, "bbox", self._class_names)
        self._results["bbox"]["nonfinite_detections"] = float(sum(nonfinite.values()))

    def _evaluate_nothing(self, img_ids: list[int] | None) -> COCOeval:
        """COCO's evaluation of no detections, which ``COCO.loadRes`` cannot load."""
        coco_eval = COCOevalMaxDets(self._coco_api, _coco_api({**self._coco_api.dataset, "annotations": []}), "bbox")
        coco_eval.params.maxDets = self._max_dets_per_image
        if img_ids is not None:
            coco_eval.params.imgIds = img_ids
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
        return coco_eval

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: list[str] | None = None
    ) -> dict[str, float]:
        results = super()._derive_coco_results(coco_eval, iou_type, class_names)
        return {metric: -1.0 if math.isnan(value) else value for metric, value in results.items()}

    def _check_classes(self, instances: Instances, image_id: int) -> None:
        num_classes = len(self._class_names)
        classes = instances.pred_classes
        unknown = classes[(classes < 0) | (classes >= num_classes)]
        if len(unknown):
            raise ValueError(
                f"image {image_id}: predicted class {int(unknown[0])}, but the data set has {num_classes} classes: "
                f"set model.num_classes={num_classes}"
            )


def ground_truth(dataset: DetectionDataset) -> COCO:
    """pycocotools' view of a loaded data set, category ids as in its json."""
    names = class_names(dataset)
    id_of_class = category_ids(dataset)
    annotations: list[dict[str, Any]] = []
    for record in dataset:
        for item in record["annotations"]:
            box = BoxMode.convert(item["bbox"], item["bbox_mode"], BoxMode.XYWH_ABS)
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 would never count as matched
                    "image_id": record["image_id"],
                    "category_id": id_of_class[item["category_id"]],
                    "bbox": list(box),
                    "area": item.get("area", box[2] * box[3]),
                    "iscrowd": item.get("iscrowd", 0),
                }
            )
    images = [
        {
            "id": record["image_id"],
            "file_name": record["file_name"],
            "width": record["width"],
            "height": record["height"],
        }
        for record in dataset
    ]
    categories = [{"id": id_of_class[index], "name": name} for index, name in enumerate(names)]
    return _coco_api({"info": {}, "images": images, "annotations": annotations, "categories": categories})


def category_ids(dataset: DetectionDataset) -> list[int]:
    """The json's category id of every contiguous class index; the index itself where none is registered."""
    contiguous = MetadataCatalog.get(dataset.name).get("thing_dataset_id_to_contiguous_id")
    if not contiguous:
        return list(range(len(class_names(dataset))))
    return [identifier for identifier, _ in sorted(contiguous.items(), key=_second)]


def drop_nonfinite(instances: Instances) -> tuple[Instances, int]:
    """Returns the detections whose boxes and scores are finite, and how many were not."""
    finite = instances.pred_boxes.tensor.isfinite().all(dim=1) & instances.scores.isfinite()
    return instances[finite], int((~finite).sum())


def _second(pair: tuple[int, int]) -> int:
    return pair[1]


def _coco_api(content: dict[str, Any]) -> COCO:
    api = COCO()
    api.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api
