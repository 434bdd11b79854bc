"""Learning-rate schedules in epochs: ``get_config("common/schedule.py").lr_multiplier_12ep``.

The drops are those of DINO's published runs (11 of 12, 20 of 24, 30 of 36), of Deformable DETR (40 of 50), of DETR
(200 of 300, 400 of 500) and of Conditional DETR (80 of 108). Group DETR does not say when its longer baselines drop the
rate (15 and 60 epochs): here at the same part of the run as in 12 and 50. Mask2Former drops it twice, after 8/9 and
26/27 of a run of 50 epochs; nobody says when in one of 12: here at the same parts.
"""

from detectron2.config import LazyCall as L

from querydet.engine.solver import MultiStepEpochs

lr_multiplier_12ep = L(MultiStepEpochs)(milestones=[11], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_24ep = L(MultiStepEpochs)(milestones=[20], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_36ep = L(MultiStepEpochs)(milestones=[30], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_50ep = L(MultiStepEpochs)(milestones=[40], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_15ep = L(MultiStepEpochs)(milestones=[14], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_60ep = L(MultiStepEpochs)(milestones=[48], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_108ep = L(MultiStepEpochs)(milestones=[80], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_300ep = L(MultiStepEpochs)(milestones=[200], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_500ep = L(MultiStepEpochs)(milestones=[400], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001)
lr_multiplier_mask2former_12ep = L(MultiStepEpochs)(
    milestones=[12 * 8 / 9, 12 * 26 / 27], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001
)
lr_multiplier_mask2former_50ep = L(MultiStepEpochs)(
    milestones=[50 * 8 / 9, 50 * 26 / 27], gamma=0.1, warmup_epochs=0.0, warmup_factor=0.001
)
