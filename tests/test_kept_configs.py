from omegaconf import OmegaConf

from querydet.config import files, find_config, get_config, load_config

RECIPE = "dino/configs/dino_r50_4scale_12ep.py"
NAMES = ["common/models/ms_dino.py", "common/train.py", "quick/dino_synthetic.py", RECIPE]


def content(cfg):
    return OmegaConf.to_container(cfg, resolve=False), cfg._get_flag("allow_objects")


def test_what_was_kept_is_what_execution_gives(kept_configs):
    for name in NAMES:
        first, second = get_config(name), get_config(name)
        assert content(first) == content(second) == content(kept_configs.execute(find_config(name)))


def test_a_recipe_of_kept_files_is_one_of_executed_ones(kept_configs, monkeypatch):
    kept = load_config(RECIPE, ["train.seed=1"])
    monkeypatch.setattr(files, "read_config", kept_configs.execute)
    assert content(load_config(RECIPE, ["train.seed=1"])) == content(kept)


def test_changes_are_not_kept():
    get_config(NAMES[0]).model.num_classes = 1234
    assert get_config(NAMES[0]).model.num_classes != 1234


def test_other_files_are_executed_each_time(tmp_path):
    path = tmp_path / "config.py"
    for number in (1, 2):
        path.write_text(f"model = dict(number={number})\n")
        assert get_config(str(path)).model.number == number
