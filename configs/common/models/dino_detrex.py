"""DINO with detrex's settings: other positions, heads for each layer, no label for padding, and a trained res2.

The temperature of the positions is 10000 and their offset -0.5, where the authors have 20 and 0. Other differences of
detrex are not followed here: it leaves images without objects out, and ignores the padding of a test batch.
"""

from querydet.config import get_config

model = get_config("common/models/dino.py").model
model.backbone.freeze_at = 1
model.neck.position_embedding.temperature = 10000.0
model.neck.position_embedding.offset = -0.5
model.heads.share_layers = False
model.denoising.num_embeddings = "${..num_classes}"
