"""DINO in miniature: every part of the real one, on a narrow ResNet that trains from scratch on a CPU."""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

from querydet.config import get_config

model = get_config("common/models/dino.py").model
model.backbone = L(ResNet)(
    stem=L(BasicStem)(in_channels=3, out_channels=32, norm="GN"),
    stages=[
        L(ResNet.make_stage)(
            block_class=BasicBlock,
            num_blocks=1,
            in_channels=in_channels,
            out_channels=out_channels,
            stride_per_block=[stride],
            norm="GN",
        )
        for in_channels, out_channels, stride in ((32, 32, 1), (32, 64, 2), (64, 128, 2), (128, 256, 2))
    ],
    out_features=["res3", "res4", "res5"],
    freeze_at=0,
)
model.neck.in_channels = {"res3": 64, "res4": 128, "res5": 256}
model.neck.num_levels = 3
model.neck.embed_dim = 96
for _part, _layers in ((model.encoder, 1), (model.decoder, 3)):
    _part.num_layers = _layers
    _part.layer.num_heads = 4
    _part.layer.ffn_dim = 256
model.selection.num_queries = 40
model.denoising.num_queries = 25
model.denoising.min_dynamic = 0
