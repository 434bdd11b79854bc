"""DINO, R50, 4 scales, 24 epochs, with detrex's settings but the authors' positions."""

from querydet.config import get_config

from .dino_detrex_r50_4scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

model.neck.position_embedding.temperature = 20.0
model.neck.position_embedding.offset = 0.0
train.max_epochs = 24
train.output_dir = "output/dino_detrex_r50_4scale_24ep"
