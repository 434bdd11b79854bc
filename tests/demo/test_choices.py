"""The models that the page offers."""

import pytest

from querydet.demo import find_choices
from tests.engine.conftest import DINO_CONFIG


def test_the_best_checkpoint_of_a_run_comes_first(models, run_folder):
    names = [choice.name for choice in models.choices]
    assert names == [f"{run_folder.name}: model_best.pth", f"{run_folder.name}: model_0000001.pth"]
    one = find_choices([], DINO_CONFIG, [str(run_folder / "model_best.pth")])
    assert one[0].name == "dino_config.py: model_best.pth"
    assert find_choices(["dino_r50_4scale_12ep"])[0].weights is None


def test_what_is_not_there_is_named(tmp_path, run_folder):
    with pytest.raises(FileNotFoundError, match=r"no folder of a training run: it has no config\.yaml"):
        find_choices([str(tmp_path)])
    (tmp_path / "config.yaml").touch()
    with pytest.raises(FileNotFoundError, match="has no checkpoints"):
        find_choices([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        find_choices([], DINO_CONFIG, ["none.pth"])
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        find_choices([], "none.py", [str(run_folder / "model_best.pth")])
    with pytest.raises(KeyError, match="'nothing' is no folder, and no published model 'nothing'"):
        find_choices(["nothing"])
    for items, config, weights in (([], None, []), ([], "a.py", []), ([], None, ["a.pth"]), (["a.pth"], None, [])):
        with pytest.raises(ValueError, match=r"no model to show|belong together|use --config-file"):
            find_choices(items, config, weights)
