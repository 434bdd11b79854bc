"""LVIS AP, of boxes and masks: of a federated data set, whose images are annotated exhaustively for some classes only.

Gupta et al. (arXiv 1908.03195, section 3): a detection counts only if its class is known to be in the image, or to be
absent from it (`neg_category_ids`), and an unmatched detection is no error if its class is not annotated exhaustively
(`not_exhaustive_category_ids`). The 300 highest scoring detections of an image count, over all classes. Besides the AP
of COCO, it reports the AP of rare, common and frequent classes.

Computed by hotcoco: the official `lvis` package does not run with numpy 1.24 or newer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from querydet.data.catalog import DetectionDataset
from querydet.data.categories import FREQUENCIES
from querydet.data.json_file import read_json
from querydet.data.lvis import NEGATIVE, NOT_EXHAUSTIVE
from querydet.data.sources import json_files
from querydet.evaluation.coco_backend import Curves, mean_known
from querydet.evaluation.coco_evaluation import CocoEvaluator
from querydet.evaluation.coco_truth import category_ids
from querydet.utils.run_lengths import RunLengths

MAX_DETECTIONS = 300  # LVIS: per image
FEDERATED = (NEGATIVE, NOT_EXHAUSTIVE)


@dataclass(frozen=True)
class Known:
    """What is known of the classes of a federated data set.

    Args:
        lists: for every image by its id, classes by the keys of `FEDERATED`.
        frequency: of every class, one of `FREQUENCIES`; "" of a class that the data lack.
    """

    lists: Mapping[Any, Mapping[str, Sequence[int]]]
    frequency: list[str]


def known_of_dataset(dataset: DetectionDataset) -> Known | None:
    """Return what a data set itself says, as after `data.load_lvis`; None where it does not."""
    frequency = MetadataCatalog.get(dataset.name).get("class_frequency")
    lists = {record["image_id"]: {key: record[key] for key in FEDERATED if key in record} for record in dataset}
    if not frequency or any(len(found) < len(FEDERATED) for found in lists.values()):
        return None
    return Known(lists, list(frequency))


def known_of_file(dataset: DetectionDataset, path: str) -> Known:
    """Read what LVIS's json says of the images of a data set.

    Raises:
        ValueError: the json lacks fields of LVIS.
    """
    try:
        content = read_json(path)
        index_of = {identifier: index for index, identifier in enumerate(category_ids(dataset))}
        images = {image["id"]: image for image in content["images"]}
        frequency = {category["id"]: category.get("frequency") for category in content["categories"]}
        lists = {}
        for record in dataset:
            image = images.get(record["image_id"], {})
            lacking = [key for key in FEDERATED if key not in image]
            if lacking:
                text = f"image {record['image_id']} has no {', '.join(lacking)}"
                raise ValueError(f"{path}: {text}: this is not an LVIS json")
            lists[record["image_id"]] = {key: [index_of[number] for number in image[key]] for key in FEDERATED}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an LVIS json of these classes: {error!r}") from error
    absent = MetadataCatalog.get(dataset.name).get("absent_classes", ())
    of_classes = {index: frequency.get(number) for number, index in index_of.items() if index not in absent}
    if not all(value in FREQUENCIES for value in of_classes.values()):
        raise ValueError(f"{path}: every category of LVIS has a frequency, one of {FREQUENCIES}")
    return Known(lists, [str(of_classes.get(index, "")) for index in range(len(index_of))])


def _only_file(dataset: DetectionDataset) -> str:
    """Return the file that a data set was loaded from.

    Raises:
        ValueError: there is none, or there are several.
    """
    files = json_files(dataset)
    if len(files) != 1:
        raise ValueError(
            f"data set '{dataset.name}' lacks LVIS's lists of classes or frequencies, and comes from {len(files)} "
            "files: load each of them with querydet.data.load_lvis, or name an LVIS json: annotations of LvisEvaluator"
        )
    return files[0]


class LvisEvaluator(CocoEvaluator):
    """`AP AP50 AP75 APs APm APl APr APc APf AR300 ARs ARm ARl` and the AP of every class, in percent.

    The results are those of boxes and, under the same conditions as with `CocoEvaluator`, of masks.

    Args:
        dataset: the loaded data set.
        annotations: path of LVIS's json, with the annotated classes of each image and the frequency of each class;
            None: those of the data set (`data.load_lvis`), or of the file that it was loaded from.
        output_dir: see `CocoEvaluator`.
        max_dets_per_image: number of highest scoring detections that count, per image.
        distributed: see `CocoEvaluator`.
        on_nonfinite: see `CocoEvaluator`.

    Raises:
        ValueError: the data set, or the json, lacks fields of LVIS.
        ImportError: hotcoco is not installed.
    """

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        annotations: str | None = None,
        output_dir: str | None = None,
        max_dets_per_image: int = MAX_DETECTIONS,
        distributed: bool = True,
        on_nonfinite: str = "drop",
    ) -> None:
        super().__init__(
            dataset=dataset,
            output_dir=output_dir,
            max_dets_per_image=max_dets_per_image,
            distributed=distributed,
            backend="hotcoco",
            on_nonfinite=on_nonfinite,
        )
        self.max_dets = (max_dets_per_image,)
        self._frequency: list[str] = []
        if self._annotated:
            known = known_of_dataset(dataset) if annotations is None else None
            known = known or known_of_file(dataset, annotations or _only_file(dataset))
            self._frequency = known.frequency
            truth = {image["id"]: image for image in self._truth.content["images"]}
            for image_id, lists in known.lists.items():
                truth[self._truth.number(image_id)].update(
                    {key: [index + 1 for index in classes] for key, classes in lists.items()}
                )

    def curves(
        self,
        rows: Mapping[Any, np.ndarray],
        img_ids: Sequence[int] | None = None,
        masks: Mapping[Any, Sequence[RunLengths]] | None = None,
    ) -> Curves:
        """Compute precision and recall of the best detections of every image."""
        best = {
            image_id: np.argsort(-detections[:, 4], kind="stable")[: self.max_dets[-1]]
            for image_id, detections in rows.items()
        }
        best_rows = {image_id: rows[image_id][indices] for image_id, indices in best.items()}
        if masks is not None:
            masks = {image_id: [values[index] for index in best[image_id]] for image_id, values in masks.items()}
        return self._truth.evaluate(self.backend, best_rows, self.max_dets, img_ids, masks=masks, federated=True)

    def numbers(self, curves: Curves) -> dict[str, float]:
        """Return COCO's metrics, and the AP of the classes of each frequency."""
        metrics = curves.twelve()
        for name in FREQUENCIES:
            classes = [index for index, frequency in enumerate(self._frequency) if frequency == name]
            metrics[f"AP{name}"] = mean_known(curves.precision[:, :, classes, 0, -1])
        return metrics
