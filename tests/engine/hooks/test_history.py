"""The latest metrics, through a checkpoint."""

from detectron2.utils.events import EventStorage

from querydet.engine.hooks.history import HISTORY, restore_history, saved_history


def fill(storage, start, stop):
    for storage.iter in range(start, stop):
        storage.put_scalar("loss", storage.iter**2)
        storage.put_scalar("lr", 0.1, smoothing_hint=False)
        storage.put_scalar("data_time", 0.5)


def test_a_restored_history_is_smoothed_as_the_uninterrupted_one():
    whole, before, after = EventStorage(0), EventStorage(0), EventStorage(0)
    fill(whole, 0, 35)
    fill(before, 0, 30)
    restore_history(after, saved_history(before))
    fill(after, 30, 35)
    assert after.latest_with_smoothing_hint(HISTORY) == whole.latest_with_smoothing_hint(HISTORY)


def test_what_clocks_measured_is_not_kept():
    storage = EventStorage(0)
    fill(storage, 0, 3)
    assert saved_history(storage) == {
        "loss": [True, [[0.0, 0], [1.0, 1], [4.0, 2]]],
        "lr": [False, [[0.1, 0], [0.1, 1], [0.1, 2]]],
    }


def test_only_what_is_smoothed_over_is_kept():
    storage = EventStorage(0)
    fill(storage, 0, 100)
    (_, values) = saved_history(storage)["loss"]
    assert [iteration for _, iteration in values] == list(range(100 - HISTORY, 100))
