"""Evaluation and use of detectors."""

from querydet.evaluation.coco import CocoEvaluator, category_ids, ground_truth
from querydet.evaluation.predictor import ArrayPredictor, CocoWriter, keep_confident, run_model

__all__ = [
    "ArrayPredictor",
    "CocoEvaluator",
    "CocoWriter",
    "category_ids",
    "ground_truth",
    "keep_confident",
    "run_model",
]
