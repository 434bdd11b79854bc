"""DETA without object balancing, with an MLP in place of the self-attention (table 7)."""

from detectron2.config import LazyCall as L

from querydet.modeling.decoder import QueryMLP

from .deta_r50_no_balancing_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.layer.self_attention = L(QueryMLP)(
    embed_dim="${..embed_dim}", hidden_dim=512, dropout="${..dropout}", add_position=True
)
train.output_dir = "output/deta_no_balancing_self_attention_mlp_12ep"
