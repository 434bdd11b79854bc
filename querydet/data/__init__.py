"""Data sets, augmentation and data loaders."""

from querydet.data.augmentation import ResizeShortSide, detr_test_augmentations, detr_train_augmentations
from querydet.data.build import build_test_loader, build_train_loader
from querydet.data.catalog import DetectionDataset, check_num_classes, class_names
from querydet.data.coco import load_coco
from querydet.data.jitter import large_scale_jitter
from querydet.data.joined import choose, first, join_datasets, without_first
from querydet.data.lvis import load_lvis
from querydet.data.mapper import BadImageError, DetrDatasetMapper, NonEmptyMaskMapper
from querydet.data.objects365 import load_objects365
from querydet.data.repeat_factors import RepeatFactors
from querydet.data.synthetic import SceneStyle, generate_synthetic, load_synthetic

__all__ = [
    "BadImageError",
    "DetectionDataset",
    "DetrDatasetMapper",
    "NonEmptyMaskMapper",
    "RepeatFactors",
    "ResizeShortSide",
    "SceneStyle",
    "build_test_loader",
    "build_train_loader",
    "check_num_classes",
    "choose",
    "class_names",
    "detr_test_augmentations",
    "detr_train_augmentations",
    "first",
    "generate_synthetic",
    "join_datasets",
    "large_scale_jitter",
    "load_coco",
    "load_lvis",
    "load_objects365",
    "load_synthetic",
    "without_first",
]
