"""Earlier iterations made current."""

import pytest
from detectron2.engine import TrainerBase
from detectron2.utils.events import EventStorage

from querydet.engine.hooks.catch_up import after_iteration


def test_metrics_belong_to_the_earlier_iteration_and_the_current_one_comes_back():
    trainer = TrainerBase()
    trainer.storage = EventStorage(8)
    trainer.iter = 8

    def fail():
        with after_iteration(trainer, 7):
            trainer.storage.put_scalar("AP", 0.5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert trainer.storage.latest()["AP"] == (0.5, 7)
    assert (trainer.iter, trainer.storage.iter) == (8, 8)
