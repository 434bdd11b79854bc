"""The hooks of a run: their order, and their names in checkpoints."""

import pytest
from detectron2.utils.events import EventStorage

from querydet.engine.faults.stopping import StopRequest
from querydet.engine.hooks.build import build_hooks
from querydet.engine.training import prepare_run


def build(cfg):
    return build_hooks(prepare_run(cfg, resume=False, request=StopRequest()))


def names(hooks):
    return [type(hook).__name__ for hook in hooks if hook is not None]


def test_weights_move_then_are_saved_then_evaluated_then_written_about(toy_config):
    found = names(build(toy_config("train.instability.enabled=True", "train.pictures.enabled=True")).hooks)
    assert found == [
        "SameData",
        "IterationTimer",
        "MonitorHook",
        "EMAHook",
        "LRScheduler",
        "DivergenceCheck",
        "PeriodicCheckpointer",
        "StopHook",
        "EvalHook",
        "InstabilityHook",
        "PictureHook",
        "BestCheckpointer",
        "WriterHook",
        "BadImagesReport",
    ]


def test_what_is_switched_off_has_no_hook(toy_config):
    found = names(build(toy_config("train.ema.enabled=False")).hooks)
    assert not {"EMAHook", "InstabilityHook", "PictureHook"} & set(found)


def test_states_in_checkpoints_have_the_names_that_earlier_checkpoints_have(toy_config):
    parts = prepare_run(toy_config(), resume=False, request=StopRequest())
    parts.trainer.register_hooks(build_hooks(parts).hooks)
    parts.trainer.storage = EventStorage()
    state = parts.trainer.state_dict()
    assert set(state["hooks"]) == {"LRScheduler", "BestCheckpointer", "SameData"}
    assert set(state) == {
        "iteration",
        "hooks",
        "optimizer",
        "scaler",
        "overflow_steps",
        "nonfinite_steps",
        "out_of_memory_steps",
        "bad_images",
        "history",
    }


def test_building_leaves_the_trainer_as_it_is(toy_config):
    parts = prepare_run(toy_config(), resume=False, request=StopRequest())
    built = build_hooks(parts)
    assert parts.trainer.on_failure is None
    assert parts.trainer._hooks == []
    assert built.on_failure is not None
    assert built.evaluation.results == {}


@pytest.mark.parametrize(
    "option",
    ["train.eval_period=often", "train.checkpointer.period=-1", "train.check_ranks_period=x", "train.log_period=1.5"],
)
def test_a_wrong_period_is_refused_by_its_name(toy_config, option):
    with pytest.raises(ValueError, match=option.partition("=")[0].replace(".", r"\.")):
        build(toy_config(option))
