"""Detections as COCO's evaluation server takes them: a zip of one json.

The rules are those of https://cocodataset.org/#upload: the file is called
``detections_[testset]_[name]_results.json``, lies in a zip of the same name without folders, and boxes are best rounded
to a tenth of a pixel. Of an image and class the server takes the 100 best detections; images without any are allowed.
"""

import json
import logging
import os
import re
import zipfile
from typing import Any

from querydet.data.catalog import DetectionDataset
from querydet.data.sources import json_files, sources_of
from querydet.evaluation.coco_evaluation import CocoEvaluator
from querydet.evaluation.detections_file import result_entries
from querydet.evaluation.image_detections import ImageDetections
from querydet.utils.atomic import atomic_write

logger = logging.getLogger(__name__)

BOX_DIGITS, SCORE_DIGITS = 1, 6  # boxes: COCO's advice; scores: ours, so that rounding hardly ever makes two equal
_PART = re.compile(r"[A-Za-z0-9.\-]+")  # underscores separate the parts of the name


class SubmissionWriter(CocoEvaluator):
    """Writes the detections of all images for COCO's server, and measures nothing.

    Args:
        dataset: the loaded data set; it needs no annotations.
        name: of the detector, letters, digits, dots and hyphens.
        output_dir: folder of ``detections_[split]_[name]_results.zip``; None is ``inference/`` of the run for images
            without annotations, and refused for others.
        split: name of the images, such as "test-dev2017"; None: that in the name of the annotation file, as of
            ``image_info_test-dev2017.json``.
        distributed: gather the detections of all processes; False writes those of this process only.
        on_nonfinite: `drop` and count detections with a NaN or infinite box or score, or `raise` an error.

    Raises:
        ValueError: the data set has no images or no class names or is joined, there is no folder, or a name is empty or
            has other characters.
    """

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        name: str = "querydet",
        output_dir: str | None = None,
        split: str | None = None,
        distributed: bool = True,
        on_nonfinite: str = "drop",
    ) -> None:
        super().__init__(
            dataset=dataset,
            output_dir=output_dir,
            distributed=distributed,
            backend="pycocotools",
            on_nonfinite=on_nonfinite,
        )
        if not output_dir:
            raise ValueError("a submission needs a folder: set dataloader.evaluator.output_dir")
        if len(sources_of(dataset)) > 1:
            files = ", ".join(json_files(dataset))
            raise ValueError(f"a submission is of images of one file, whose ids it has; these are of several: {files}")
        split = split_of(dataset) if split is None else split
        for option, value in (("name", name), ("split", split)):
            if not isinstance(value, str) or not _PART.fullmatch(value):
                raise ValueError(
                    f"the {option} of a submission has to be of letters, digits, dots and hyphens, got {value!r}: set "
                    f"dataloader.evaluator.{option}"
                )
        self.file_name = f"detections_{split}_{name}_results"

    def evaluate(self, img_ids: Any = None) -> dict[str, dict[str, float]]:
        """Write the detections; there are no results."""
        detections = self.gather()
        if detections is None:
            return {}
        assert self._output_dir
        path = os.path.join(self._output_dir, f"{self.file_name}.zip")
        count = write_submission(path, detections, self._category_ids, self._absent)
        logger.warning("%d detections in %d images are in %s, for COCO's server", count, len(self._records), path)
        return {}


def write_submission(
    path: str, detections: dict[Any, ImageDetections], category_ids: list[int], absent: tuple[int, ...] = ()
) -> int:
    """Write a zip for COCO's server, complete or not at all; return the number of detections in it.

    Args:
        path: of the zip; the json in it has its name.
        detections: by image id.
        category_ids: id in the json by class index.
        absent: class indices that the json has no category for; their detections are left out.
    """
    entries = result_entries(detections, category_ids, absent)
    for entry in entries:
        entry["bbox"] = [round(value, BOX_DIGITS) for value in entry["bbox"]]
        entry["score"] = round(entry["score"], SCORE_DIGITS)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    inner = os.path.splitext(os.path.basename(path))[0] + ".json"
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inner, json.dumps(entries))
    return len(entries)


def split_of(dataset: Any) -> str:
    """Return the name of the images in the name of the annotation file, such as "test-dev2017"; "" without one."""
    files = json_files(dataset)
    stem = os.path.splitext(os.path.basename(files[0]))[0] if files else ""
    return re.sub(r"[^A-Za-z0-9.\-]+", "-", re.sub(r"^(image_info|instances)_", "", stem))
