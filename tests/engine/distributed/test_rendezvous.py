"""Processes that torchrun started find each other again after a restart."""

import datetime
import json

import pytest
import torch.distributed as dist

from querydet.engine.distributed.rendezvous import attempt_store


@pytest.fixture
def agent(monkeypatch):
    """A store as torchrun's agent keeps it for all attempts."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    return store


def test_an_attempt_does_not_see_what_the_one_before_has_left(agent, monkeypatch):
    stores = {}
    for attempt, processes in (("0", 1), ("1", 1), ("1", 2)):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
        store = attempt_store(0, processes)
        store.set_timeout(datetime.timedelta(seconds=1))
        assert not store.check(["address"])
        store.set("address", attempt + str(processes))
        stores[attempt, processes] = store
    assert [store.get("address").decode() for store in stores.values()] == ["01", "11", "12"]


def test_processes_of_an_attempt_see_each_other(agent):
    attempt_store(0, 2).set("address", "here")
    assert attempt_store(1, 2).get("address") == b"here"


@pytest.mark.slow
def test_torchrun_restarts_a_run_that_died_and_it_goes_on(train_net, tmp_path):
    # Both processes die in their 7th step; checkpoints follow iterations 3 and 7, and 6 steps are left from 4 on.
    folder = tmp_path / "run"
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1")
    options = ["--num-gpus", "0", "--resume", f"train.output_dir={folder}", "train.max_iter=10", "train.log_period=1"]
    done = train_net(*options, launcher=launcher, timeout=400, TOY_KILL="step 7")
    assert done.returncode == 0, done.stderr
    assert "Starting training from iteration 4" in (folder / "log.txt").read_text()
    lines = (folder / "metrics.json").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == list(range(10))
