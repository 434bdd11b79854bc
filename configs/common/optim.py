"""Optimizers. The engine passes the model when it builds one."""

from detectron2.config import LazyCall as L

from querydet.engine.solver import build_adamw

# DINO, table 8: only the backbone learns more slowly.
optimizer = L(build_adamw)(
    lr=1e-4,
    weight_decay=1e-4,
    betas=[0.9, 0.999],
    lr_factors={"backbone": 0.1},
)
