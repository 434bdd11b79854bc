"""A config with a node of every kind."""

import pytest
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from tests.config.encoders import Encoder


@pytest.fixture
def cfg():
    return OmegaConf.create(
        {
            "model": {
                "dim": 256,
                "encoder": L(Encoder)(layers=2),
                "neck": None,
                "twin": "${.encoder}",
                "sizes": [1, {"level": 2}],
            },
            "train": {"max_iter": None, "eval_period": 1, "amp": {"enabled": False, "dtype": "bfloat16"}},
        },
        flags={"allow_objects": True},
    )
