"""Evaluation of detections."""

from querydet.evaluation.coco import CocoEvaluator

__all__ = ["CocoEvaluator"]
