"""Evaluators to choose from, for ``dataloader.evaluator``: one of them, or a list; see ``docs/evaluation.md``.

_evaluators = get_config("common/evaluators.py").evaluators
dataloader.evaluator = [_evaluators.coco, _evaluators.atd]
"""

from detectron2.config import LazyCall as L

from querydet.evaluation import (
    ATDEvaluator,
    CalibrationEvaluator,
    CandidateEvaluator,
    CocoEvaluator,
    DuplicateEvaluator,
    InstabilityEvaluator,
    LvisEvaluator,
    QueryRecallEvaluator,
    SubmissionWriter,
)

# what the evaluators take from the config that they are put into
dataloader = {"test": {"dataset": None}}
train = {"output_dir": "./output"}
_dataset = "${dataloader.test.dataset}"

evaluators = {
    "coco": L(CocoEvaluator)(
        dataset=_dataset, output_dir=None, max_dets_per_image=100, backend="auto", on_nonfinite="drop"
    ),
    "lvis": L(LvisEvaluator)(
        dataset=_dataset, annotations=None, output_dir=None, max_dets_per_image=300, on_nonfinite="drop"
    ),
    "atd": L(ATDEvaluator)(dataset=_dataset, k=100),
    "instability": L(InstabilityEvaluator)(dataset=_dataset, folder="${train.output_dir}/matching", against=None),
    "recall": L(QueryRecallEvaluator)(dataset=_dataset),
    "duplicates": L(DuplicateEvaluator)(
        dataset=_dataset, min_score=0.3, iou_threshold=0.5, nms_threshold=0.7, num_detections=100, backend="auto"
    ),
    "calibration": L(CalibrationEvaluator)(
        dataset=_dataset, num_bins=10, iou_threshold=0.5, min_score=0.0, output_dir=None
    ),
    "candidates": L(CandidateEvaluator)(
        dataset=_dataset, count=20, alpha=0.0, layer=None, output_dir="${train.output_dir}"
    ),
    "submission": L(SubmissionWriter)(
        dataset=_dataset, name="querydet", output_dir="${train.output_dir}/inference", split=None, on_nonfinite="drop"
    ),
}
