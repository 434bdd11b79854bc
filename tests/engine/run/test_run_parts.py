"""The parts of a run that is ready to start."""

from querydet.engine.faults.stopping import StopRequest
from querydet.engine.training import prepare_run


def test_the_average_is_evaluated_where_there_is_one(toy_config):
    parts = prepare_run(toy_config(), resume=False, request=StopRequest())
    assert parts.evaluated_model is parts.ema.module
    assert parts.models == [parts.model, parts.ema.module]
    parts = prepare_run(toy_config("train.ema.enabled=False", folder="raw"), resume=False, request=StopRequest())
    assert parts.evaluated_model is parts.model
    assert parts.models == [parts.model]


def test_the_trainer_has_the_request_of_the_process(toy_config):
    request = StopRequest()
    parts = prepare_run(toy_config(), resume=False, request=request)
    assert parts.request is request
    assert parts.trainer.request is request
