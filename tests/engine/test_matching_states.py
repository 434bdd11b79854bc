"""The states between which a matching is compared."""

import pytest

from querydet.engine import matching_states
from querydet.engine.matching_states import read_or_match, states_of


@pytest.fixture
def run_folder(tmp_path):
    """Makes files in the folder of a run."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
        return str(tmp_path)

    return make


def names(folder, found):
    return [path.removeprefix(f"{folder}/") for path in found]


def test_a_file_and_a_published_model_are_states_themselves(run_folder):
    path = run_folder("a.pth") + "/a.pth"
    assert states_of(path) == [path]
    assert states_of("querydet://dino_r50_4scale_12ep") == ["querydet://dino_r50_4scale_12ep"]


def test_checkpoints_come_in_the_order_of_training_and_the_final_one_last(run_folder):
    folder = run_folder("model_final.pth", "model_0000119.pth", "model_0000059.pth", "model_best.pth", "other.pth")
    assert names(folder, states_of(folder)) == ["model_0000059.pth", "model_0000119.pth", "model_final.pth"]


def test_matchings_are_preferred_when_there_are_two_to_compare(run_folder):
    folder = run_folder("model_final.pth", "matching/matching_0000004.json", "matching/notes.json")
    assert names(folder, states_of(folder)) == ["model_final.pth"]
    run_folder("matching/matching_0000002.json")
    wanted = ["matching_0000002.json", "matching_0000004.json"]
    assert names(f"{folder}/matching", states_of(folder)) == wanted
    assert names(f"{folder}/matching", states_of(f"{folder}/matching")) == wanted


def test_nothing_to_compare_says_how_to_get_it(run_folder):
    folder = run_folder("config.yaml")
    with pytest.raises(FileNotFoundError, match=r"no matchings and no checkpoints: train with train\.instability"):
        states_of(folder)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        states_of(f"{folder}/absent")


def test_a_matcher_is_made_once_and_only_for_checkpoints(monkeypatch):
    monkeypatch.setattr(matching_states, "load_matching", lambda path: f"read {path}")
    made = []

    def make():
        made.append(True)
        return lambda path: f"matched {path}"

    assert list(read_or_match(["a.json", "b.json"], make)) == [("a.json", "read a.json"), ("b.json", "read b.json")]
    assert not made
    found = dict(read_or_match(["a.json", "b.pth", "c.pth"], make))
    assert found == {"a.json": "read a.json", "b.pth": "matched b.pth", "c.pth": "matched c.pth"}
    assert len(made) == 1
