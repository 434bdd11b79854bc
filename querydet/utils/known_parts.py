"""The classes and functions that a config from others may name, by the place in the config where they may stand.

Each does no more than build a part or read the data that its arguments name. A new part that configs name is added
here.
"""

import re
from collections.abc import Mapping

Names = Mapping[str, str]  # module -> names in it

MODEL: Names = {
    "querydet.modeling.align": "IoUAwareClassLoss RankWeights",
    "querydet.modeling.assigners.copies": "Copies",
    "querydet.modeling.assigners.hungarian": "HungarianAssigner",
    "querydet.modeling.assigners.iou": "IoUAssigner",
    "querydet.modeling.assigners.known": "KnownAssigner",
    "querydet.modeling.assigners.one_to_many": "OneToManyAssigner",
    "querydet.modeling.assigners.raised_threshold": "RaisedThresholdAssigner",
    "querydet.modeling.assigners.ranking": "OverlapMatcher ThresholdMatcher",
    "querydet.modeling.assigners.union": "UnionAssigner",
    "querydet.modeling.backbones.dilated": "make_dilated_stages",
    "querydet.modeling.backbones.normed": "NormedTimmBackbone",
    "querydet.modeling.backbones.timm": "TimmBackbone",
    "querydet.modeling.backbones.torchvision": "TorchvisionBackbone",
    "querydet.modeling.backbones.transformers": "make_mvit make_vit",
    "querydet.modeling.class_heads": "ClassHeads",
    "querydet.modeling.criterion": "Criterion SupervisionRule",
    "querydet.modeling.decoder.attention": "ClippedCrossAttention",
    "querydet.modeling.decoder.box_position": "BoxPosition ScaledBoxPosition",
    "querydet.modeling.decoder.deformable": "DeformableDecoder deformable_decoder_layer",
    "querydet.modeling.decoder.dense": (
        "ConditionalDecoder DabDecoder DetrDecoder conditional_decoder_layer detr_decoder_layer"
    ),
    "querydet.modeling.decoder.levelwise": "levelwise_decoder_layer",
    "querydet.modeling.decoder.masked": "MaskedDecoder masked_decoder_layer",
    "querydet.modeling.decoder.one_to_many": "OneToManyBranch",
    "querydet.modeling.decoder.query_mlp": "QueryMLP",
    "querydet.modeling.decoder.second_stream": "SecondStream",
    "querydet.modeling.detector": "QueryDetector",
    "querydet.modeling.encoder.deformable": "DeformableEncoder deformable_encoder_layer",
    "querydet.modeling.encoder.dense": "DenseEncoder ScaledDenseEncoder dense_encoder_layer",
    "querydet.modeling.federated": "FederatedFocalLoss",
    "querydet.modeling.heads": "PredictionHeads",
    "querydet.modeling.layers.feed_forward": "FeedForward PReLUFeedForward",
    "querydet.modeling.layers.mlp": "MLP",
    "querydet.modeling.layers.position_embedding": "SinePositionEmbedding",
    "querydet.modeling.losses": "FocalLoss GIoULoss L1Loss",
    "querydet.modeling.masks.attention_map": "AttentionMapHead",
    "querydet.modeling.masks.branch": "MaskBranch",
    "querydet.modeling.masks.costs": "PointMaskCost",
    "querydet.modeling.masks.dot_product": "PixelEmbedding",
    "querydet.modeling.masks.losses": "DiceLoss FocalMaskLoss PointDiceLoss PointMaskLoss",
    "querydet.modeling.masks.paste": "PasteMasks",
    "querydet.modeling.meta_arch.align_detr": "AlignDETR",
    "querydet.modeling.meta_arch.dac_detr": "DACDETR",
    "querydet.modeling.meta_arch.deta": "DETA",
    "querydet.modeling.meta_arch.dino": "DINO",
    "querydet.modeling.meta_arch.dn_detr": "DNDETR",
    "querydet.modeling.meta_arch.group_detr": "GroupDETR",
    "querydet.modeling.meta_arch.ms_detr": "MSDETR",
    "querydet.modeling.meta_arch.with_dino": "GroupDINO MSDINO",
    "querydet.modeling.neck": "MultiScaleNeck SingleMapNeck",
    "querydet.modeling.no_object": (
        "NoObjectHeads SoftmaxHungarianAssigner SoftmaxLoss SoftmaxPairsPostprocess SoftmaxPostprocess"
    ),
    "querydet.modeling.normalizers": "LocalObjects MeanObjects MeanRepeatedObjects WeightedQueries",
    "querydet.modeling.postprocess": "NMSPostprocess TopKPostprocess",
    "querydet.modeling.queries.contrastive_denoising": "ContrastiveDenoising",
    "querydet.modeling.queries.denoising": "Denoising",
    "querydet.modeling.queries.denoising_groups": "FixedGroups GroupsPerImage GroupsPerProcess",
    "querydet.modeling.queries.grouped_denoising": "GroupedDenoising",
    "querydet.modeling.selection.content": "BoxEmbedding LearnedContent ProjectedFeatures SelectedFeatures",
    "querydet.modeling.selection.grouped": "GroupedSelection",
    "querydet.modeling.selection.hybrid": "HybridSelection",
    "querydet.modeling.selection.learned": (
        "LearnedBoxes LearnedBoxesWithPatterns LearnedPoints LearnedQueries LearnedQueriesWithPoints"
    ),
    "querydet.modeling.selection.learned_contents": "LearnedContents",
    "querydet.modeling.selection.nms": "NMSSelection",
    "querydet.modeling.selection.proposals": "ProposalHead",
    "querydet.modeling.selection.topk": "TopKSelection",
    "detectron2.layers.batch_norm": "FrozenBatchNorm2d NaiveSyncBatchNorm",
    "detectron2.modeling.backbone.fpn": "FPN LastLevelMaxPool LastLevelP6P7",
    "detectron2.modeling.backbone.mvit": "MViT",
    "detectron2.modeling.backbone.regnet": "RegNet ResBottleneckBlock SimpleStem",
    "detectron2.modeling.backbone.resnet": (
        "BasicBlock BasicStem BottleneckBlock DeformBottleneckBlock ResNet ResNet.make_default_stages ResNet.make_stage"
    ),
    "detectron2.modeling.backbone.swin": "SwinTransformer",
    "detectron2.modeling.backbone.vit": "SimpleFeaturePyramid ViT",
    "torch.nn.modules.activation": "ELU GELU Hardswish LeakyReLU Mish PReLU ReLU ReLU6 SiLU Sigmoid Tanh",
    "torch.nn.modules.batchnorm": "BatchNorm2d SyncBatchNorm",
    "torch.nn.modules.conv": "Conv2d ConvTranspose2d",
    "torch.nn.modules.dropout": "Dropout Dropout2d",
    "torch.nn.modules.linear": "Identity Linear",
    "torch.nn.modules.normalization": "GroupNorm LayerNorm RMSNorm",
    "torch.nn.modules.pooling": "AvgPool2d MaxPool2d",
    "torch.nn.modules.sparse": "Embedding",
}
LOADERS: Names = {"querydet.data.build": "build_test_loader build_train_loader"}
REPEATS: Names = {"querydet.data.repeat_factors": "RepeatFactors"}
DATASETS: Names = {
    "querydet.data.coco": "load_coco",
    "querydet.data.lvis": "load_lvis",
    "querydet.data.joined": "choose first join_datasets without_first",
    "querydet.data.objects365": "load_objects365",
    "querydet.data.synthetic": "load_synthetic",
    "querydet.data.synthetic_scene": "SceneStyle",
}
MAPPERS: Names = {
    "querydet.data.augmentation": "ResizeShortSide detr_test_augmentations detr_train_augmentations",
    "querydet.data.jitter": "ResizeToScale large_scale_jitter",
    "querydet.data.mapper": "DetrDatasetMapper NonEmptyMaskMapper",
    "detectron2.data.transforms.augmentation": "AugmentationList",
    "detectron2.data.transforms.augmentation_impl": (
        "FixedSizeCrop MinIoURandomCrop RandomApply RandomBrightness RandomContrast RandomCrop RandomExtent RandomFlip "
        "RandomLighting RandomResize RandomRotation RandomSaturation Resize ResizeScale ResizeShortestEdge"
    ),
}
EVALUATORS: Names = {
    "querydet.evaluation.atd": "ATDEvaluator",
    "querydet.evaluation.calibration": "CalibrationEvaluator",
    "querydet.evaluation.candidates": "CandidateEvaluator",
    "querydet.evaluation.coco_evaluation": "CocoEvaluator",
    "querydet.evaluation.duplicates": "DuplicateEvaluator",
    "querydet.evaluation.instability": "InstabilityEvaluator",
    "querydet.evaluation.lvis_evaluation": "LvisEvaluator",
    "querydet.evaluation.recall": "QueryRecallEvaluator",
    "querydet.evaluation.submission": "SubmissionWriter",
}
ENSEMBLES: Names = {"querydet.evaluation.ensemble": "NMSEnsemble OneToOneEnsemble"}
OPTIMIZERS: Names = {"querydet.engine.solver": "build_adamw"}
SCHEDULES: Names = {
    "querydet.engine.iteration_schedule": "MultiStepIterations",
    "querydet.engine.solver": "MultiStepEpochs",
    "detectron2.solver.lr_scheduler": "WarmupParamScheduler",
    "fvcore.common.param_scheduler": (
        "CompositeParamScheduler ConstantParamScheduler CosineParamScheduler ExponentialParamScheduler "
        "LinearParamScheduler MultiStepParamScheduler PolynomialDecayParamScheduler StepParamScheduler"
    ),
}

ALL = (MODEL, LOADERS, REPEATS, DATASETS, MAPPERS, EVALUATORS, ENSEMBLES, OPTIMIZERS, SCHEDULES)

# The first place that a key begins with decides; other keys are those of files that are parts of configs.
PLACES: tuple[tuple[str, tuple[Names, ...]], ...] = (
    (r"dataloader\.evaluator\b.*\.dataset\b", (DATASETS,)),
    (r"dataloader\.evaluator\b", (EVALUATORS,)),
    (r"dataloader\.\w+\.dataset\b", (DATASETS,)),
    (r"dataloader\.\w+\.mapper\b", (MAPPERS,)),
    (r"dataloader\.\w+\.repeat\b", (REPEATS,)),
    (r"dataloader\b", (LOADERS,)),
    (r"optimizer\b", (OPTIMIZERS,)),
    (r"lr_multiplier\b", (SCHEDULES,)),
    (r"train\.test_time_augmentation\b", (ENSEMBLES,)),
    (r"(model|train)\b", (MODEL,)),
    (r"", ALL),
)


def parts_at(place: str) -> dict[str, str]:
    """Return what may be named at a place of a config.

    Args:
        place: dotted key, empty for any place.

    Returns:
        Full names of classes and functions, each with the module that defines it.
    """
    lists = next(lists for pattern, lists in PLACES if re.match(pattern, place))
    return {f"{module}.{name}": module for names in lists for module, text in names.items() for name in text.split()}
