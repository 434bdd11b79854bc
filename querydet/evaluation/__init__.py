"""Evaluation: COCO and LVIS metrics, metrics of queries, detection errors and test-time augmentation."""

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
