"""Activation checkpointing for one step."""

from querydet.engine.faults.recomputation import recomputing
from tests.models import tiny_detector


def test_recomputing_is_for_the_block_alone():
    model = tiny_detector("dino")
    with recomputing(model):
        assert model.encoder.activation_checkpointing
        assert model.decoder.activation_checkpointing
        assert "forward" in vars(model.backbone)
    assert not model.encoder.activation_checkpointing
    assert not model.decoder.activation_checkpointing
    assert "forward" not in vars(model.backbone)
