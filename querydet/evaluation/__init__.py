"""Evaluation: COCO and LVIS metrics, metrics of queries, detection errors and test-time augmentation."""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
    from querydet.evaluation.atd import ATDEvaluator
    from querydet.evaluation.augmented_views import TestTimeAugmentation
    from querydet.evaluation.calibration import CalibrationEvaluator
    from querydet.evaluation.candidates import CandidateEvaluator
    from querydet.evaluation.coco_evaluation import CocoEvaluator
    from querydet.evaluation.coco_truth import category_ids, ground_truth
    from querydet.evaluation.coco_writer import CocoWriter
    from querydet.evaluation.duplicates import DuplicateEvaluator
    from querydet.evaluation.ensemble import NMSEnsemble, OneToOneEnsemble
    from querydet.evaluation.instability import InstabilityEvaluator
    from querydet.evaluation.lvis_evaluation import LvisEvaluator
    from querydet.evaluation.prediction import ArrayPredictor, keep_confident, run_model
    from querydet.evaluation.query_predictions import QueryRecord, WithQueries, record_queries, uses_queries
    from querydet.evaluation.recall import QueryRecallEvaluator
    from querydet.evaluation.submission import SubmissionWriter

__all__ = [
    "ATDEvaluator",
    "ArrayPredictor",
    "CalibrationEvaluator",
    "CandidateEvaluator",
    "CocoEvaluator",
    "CocoWriter",
    "DuplicateEvaluator",
    "InstabilityEvaluator",
    "LvisEvaluator",
    "NMSEnsemble",
    "OneToOneEnsemble",
    "QueryRecallEvaluator",
    "QueryRecord",
    "SubmissionWriter",
    "TestTimeAugmentation",
    "WithQueries",
    "category_ids",
    "ground_truth",
    "keep_confident",
    "record_queries",
    "run_model",
    "uses_queries",
]

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.evaluation.atd": "ATDEvaluator",
            "querydet.evaluation.augmented_views": "TestTimeAugmentation",
            "querydet.evaluation.calibration": "CalibrationEvaluator",
            "querydet.evaluation.candidates": "CandidateEvaluator",
            "querydet.evaluation.coco_evaluation": "CocoEvaluator",
            "querydet.evaluation.coco_truth": "category_ids ground_truth",
            "querydet.evaluation.coco_writer": "CocoWriter",
            "querydet.evaluation.duplicates": "DuplicateEvaluator",
            "querydet.evaluation.ensemble": "NMSEnsemble OneToOneEnsemble",
            "querydet.evaluation.instability": "InstabilityEvaluator",
            "querydet.evaluation.lvis_evaluation": "LvisEvaluator",
            "querydet.evaluation.prediction": "ArrayPredictor keep_confident run_model",
            "querydet.evaluation.query_predictions": "QueryRecord WithQueries record_queries uses_queries",
            "querydet.evaluation.recall": "QueryRecallEvaluator",
            "querydet.evaluation.submission": "SubmissionWriter",
        },
    )
