"""H-DETR, Swin-L with windows of 7, 300 + 1500 queries, 12 epochs."""

from querydet.config import get_config

from .h_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone = get_config("common/backbones/swin.py").backbone
model.backbone.pretrain_img_size = 224
model.backbone.window_size = 7
model.neck.in_channels = {"p1": 384, "p2": 768, "p3": 1536}

train.init_checkpoint = (
    "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window7_224_22k.pth"
)
train.output_dir = "output/h_detr_swin_l_12ep"
