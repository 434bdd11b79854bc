"""The state of a training in a checkpoint: everything that is not as it was saved is refused by name."""

import copy

import pytest
import torch

from querydet.checkpoint.training_state import check_training_state

STATE = {
    "iteration": 5,
    "ema": {"n_averaged": torch.tensor(6), "module.weight": torch.ones(1)},
    "trainer": {
        "iteration": 5,
        "optimizer": {"state": {0: {"step": torch.tensor(6.0)}}, "param_groups": [{"params": [0]}]},
        "scaler": {},
        "overflow_steps": 0,
        "nonfinite_steps": 0,
        "bad_images": {"dataset_size": 3, "counts": {"a.jpg": 1}},
        "history": {"loss": [True, [[0.5, 4]]]},
        "hooks": {
            "LRScheduler": {"last_epoch": 6},
            "BestCheckpointer": {"best": None, "best_iteration": -1, "seen": -1},
        },
    },
}
PLACES = (
    *("iteration", "ema", "ema.n_averaged", "trainer", "trainer.iteration", "trainer.optimizer", "trainer.scaler"),
    *("trainer.optimizer.state", "trainer.optimizer.state.0", "trainer.optimizer.param_groups"),
    *("trainer.overflow_steps", "trainer.nonfinite_steps", "trainer.bad_images", "trainer.bad_images.counts"),
    *("trainer.bad_images.dataset_size", "trainer.history", "trainer.history.loss", "trainer.hooks"),
    *("trainer.hooks.LRScheduler", "trainer.hooks.LRScheduler.last_epoch", "trainer.hooks.BestCheckpointer.seen"),
)
POSSIBLE = (
    [("trainer.hooks.BestCheckpointer.seen", number) for number in (-7, 10**30)]
    + [(place, {"x": 1}) for place in ("trainer.scaler", "trainer.optimizer.state.0", "trainer.bad_images.counts")]
    + [("trainer.hooks.LRScheduler", {})]
)
OTHERS = ("x", -7, 10**30, float("nan"), None, [1], {"x": 1})


def replaced(place, value):
    content = copy.deepcopy(STATE)
    *outer, last = (int(key) if key.isdigit() else key for key in place.split("."))
    holder = content
    for key in outer:
        holder = holder[key]
    holder[last] = value
    return content


def test_a_state_as_it_was_saved_passes():
    check_training_state(STATE, "x.pth", ("trainer", "ema"))


@pytest.mark.parametrize("place", PLACES)
def test_other_values_are_refused_by_name(place):
    for value in OTHERS:
        if (place.endswith(("_steps", "dataset_size")) and value == 10**30) or (place, value) in POSSIBLE:
            continue
        with pytest.raises(ValueError, match=r"x\.pth is not as it was saved: [\w.' ]+ is "):
            check_training_state(replaced(place, value), "x.pth", ("trainer", "ema"))


def test_what_the_run_needs_is_named_where_it_is_missing():
    with pytest.raises(ValueError, match=r"x\.pth holds no ema: it cannot be resumed"):
        check_training_state({"trainer": STATE["trainer"], "iteration": 5}, "x.pth", ("trainer", "ema"))


def test_a_measure_that_is_not_a_number_is_one_of_a_class_without_objects_and_blocks_no_resume():
    content = copy.deepcopy(STATE)
    content["trainer"]["history"]["bbox/AP-cat"] = [False, [[float("nan"), 4]]]
    check_training_state(content, "model.pth", ("trainer",))
