"""Data sets, augmentation and data loaders."""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.data.augmentation": "ResizeShortSide detr_test_augmentations detr_train_augmentations",
            "querydet.data.build": "build_test_loader build_train_loader",
            "querydet.data.catalog": "DetectionDataset check_num_classes class_names",
            "querydet.data.coco": "load_coco",
            "querydet.data.jitter": "large_scale_jitter",
            "querydet.data.joined": "choose first join_datasets without_first",
            "querydet.data.lvis": "load_lvis",
            "querydet.data.mapper": "BadImageError DetrDatasetMapper NonEmptyMaskMapper",
            "querydet.data.objects365": "load_objects365",
            "querydet.data.repeat_factors": "RepeatFactors",
            "querydet.data.synthetic": "SceneStyle generate_synthetic load_synthetic",
        },
    )
