"""``querydet config``: names, nodes, overrides, and messages of one line."""

import shutil

import pytest
import yaml
from omegaconf import OmegaConf

from querydet.cli import print_config
from querydet.config import load_config, save_config, shipped_configs

RECIPE = "projects/dino/configs/dino_r50_4scale_12ep.py"


@pytest.fixture
def show(capsys):
    """Runs the command; returns the exit status, and what it printed."""

    def run(*argv):
        status = print_config.main(list(argv))
        printed = capsys.readouterr()
        assert not (printed.out and printed.err)
        return status, printed.out or printed.err

    return run


def plain(cfg):
    """A config as YAML has it."""
    return yaml.unsafe_load(print_config.to_yaml(print_config.to_plain(cfg, resolve=True)))


@pytest.mark.parametrize("name", [RECIPE, "dino/configs/dino_r50_4scale_12ep.py", "dino_r50_4scale_12ep"])
def test_a_recipe_is_found_by_its_path_its_place_and_its_name(show, name):
    status, text = show(name, "--key", "train.output_dir")
    assert (status, text) == (0, "output/dino_r50_4scale_12ep\n")


def test_every_recipe_has_a_short_name(monkeypatch):
    monkeypatch.setattr(print_config, "get_config", lambda path: path)
    recipes = [path for path in shipped_configs() if path.startswith("projects/")]
    assert RECIPE in recipes
    for path in recipes:
        assert print_config.load(path.rpartition("/")[2].removesuffix(".py")) == path


def test_runs_and_files_anywhere_are_found(show, tmp_path):
    save_config(load_config(RECIPE, ["train.max_epochs=7"]), str(tmp_path / "config.yaml"))
    shutil.copy(tmp_path / "config.yaml", tmp_path / "other.yml")
    for name in (tmp_path, tmp_path / "config.yaml", tmp_path / "other.yml"):
        assert show(str(name), "--key", "train.max_epochs") == (0, "7\n")


def test_names_of_the_zoo_bring_what_their_weights_need(show):
    for name in ("deta_r50_12ep_detrex", "dino_r50_4scale_12ep"):
        assert show(name, "--key", "model.num_classes") == (0, "80\n")
    entry = print_config.model_zoo.get_entry("deta_r50_12ep_detrex")
    changed = {key: value for key, _, value in (text.partition("=") for text in entry.overrides)}
    assert changed
    for key, value in changed.items():
        assert show(entry.name, "--key", key)[1].strip() == value != show(entry.recipe, "--key", key)[1].strip()


def test_the_output_is_a_config_of_the_same_values(show, tmp_path):
    status, text = show("quick/dino_synthetic.py", "model.selection.num_queries=50")
    assert status == 0
    (tmp_path / "printed.yaml").write_text(text)
    wanted = load_config("quick/dino_synthetic.py", ["model.selection.num_queries=50"])
    found = load_config(str(tmp_path / "printed.yaml"))
    assert plain(found) == plain(wanted)
    assert found.model.selection.num_queries == 50


def test_a_composition_is_printed_whole_or_in_part(show):
    model = yaml.unsafe_load(show("common/models/dino.py")[1])["model"]
    criterion = yaml.unsafe_load(show("common/models/dino.py", "--key", "model.criterion")[1])
    assert next(iter(criterion)) == "_target_"
    assert criterion == model["criterion"]
    assert show("dino_r50_4scale_12ep", "--key", "optimizer.betas.1") == (0, "0.999\n")


def test_interpolations_are_values_or_as_written(show):
    key = ("--key", "model.heads.num_classes")
    assert show("common/models/dino.py", *key, "model.num_classes=7") == (0, "7\n")
    assert show("common/models/dino.py", *key, "--unresolved", "model.num_classes=7") == (0, "${..num_classes}\n")


def test_an_interpolation_to_nothing_is_named(show, tmp_path):
    (tmp_path / "x.py").write_text("model = {'depth': '${nothing}', 'width': 3}")
    status, text = show(str(tmp_path / "x.py"))
    assert status == 2
    assert "'model.depth' cannot be resolved, add --unresolved" in text
    assert text.count("\n") == 1
    assert show(str(tmp_path / "x.py"), "--unresolved")[0] == 0
    (tmp_path / "x.yaml").write_text("model: {depth: '${nothing}', width: 3}")
    assert "the reference at 'model.depth' cannot be followed" in show(str(tmp_path / "x.yaml"))[1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dino_r50_4scale_12e"], "there is no config 'dino_r50_4scale_12e'; did you mean 'dino_r50_4scale_12ep'?"),
        (["dino_r50"], "there is no config 'dino_r50'; did you mean 'dino_r50_4scale_12ep'?"),
        (["dino/configs/dino_r50_4scale_13ep.py"], "the nearest shipped one is 'projects/dino/configs/dino_r50_4scal"),
        (["group_dino"], "several configs: configs/common/models/group_dino.py, configs/convergence/group_dino.py"),
        (["common/models/dino.py", "--key", "model.criterium"], "did you mean 'model.criterion'?"),
        (["common/models/dino.py", "--key", "model.num_classes.a"], "'model.num_classes' has no keys"),
        (["common/models/dino.py", "model.num_clases=3"], "did you mean 'model.num_classes'?"),
        (["common/models/dino.py", "model.num_classes=many"], "is a number, not a string"),
    ],
)
def test_wrong_names_and_values_end_with_one_line_that_names_the_nearest(show, argv, message):
    status, text = show(*argv)
    assert status == 2
    assert text.startswith("querydet config: ")
    assert message in text
    assert text.count("\n") == 1


def test_classes_that_stand_for_themselves_are_printed_by_name(show):
    status, text = show("quick/dino_synthetic.py", "--key", "model.backbone.stages.0.block_class")
    assert (status, text) == (0, "!!python/name:detectron2.modeling.backbone.resnet.BasicBlock ''\n")


def test_the_config_itself_is_not_changed():
    cfg = print_config.load("common/models/dino.py")
    before = OmegaConf.to_container(cfg, resolve=False)
    print_config.to_plain(cfg, resolve=True)
    assert OmegaConf.to_container(cfg, resolve=False) == before
