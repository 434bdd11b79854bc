"""Finding, loading, overriding and saving configs."""

import builtins

import pytest
from detectron2.config import instantiate

from querydet.config import TOP_LEVEL, find_config, get_config, load_config, save_config, shipped_configs


def test_config_file_is_found_by_path_and_by_name(tmp_path, monkeypatch):
    path = find_config("common/train.py")
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/common/train.py") == find_config(path) == path
    assert "configs/common/train.py" in shipped_configs()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("dino_r50.py", FileNotFoundError, "nearest shipped one is 'projects/dino/configs/dino_r50_4scale_12ep.py'"),
        ("common/trian.py", FileNotFoundError, "nearest shipped one is 'configs/common/train.py'"),
        ("common/train", ValueError, "has to end in .py.*nearest shipped one is 'configs/common/train.py'"),
    ],
)
def test_absent_config_file_is_reported(name, error, message):
    with pytest.raises(error, match=message):
        find_config(name)


def test_every_get_config_is_fresh():
    get_config("common/train.py").train.max_epochs = 99
    assert get_config("common/train.py").train.max_epochs != 99


def test_helper_at_the_top_level_and_missing_parts_are_refused(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("model = {}\nhelper = {}\n")
    with pytest.raises(ValueError, match="defines helper at the top level"):
        load_config(str(path))
    path.write_text("model = {}\n_helper = {}\n")
    with pytest.raises(ValueError, match="has no dataloader, optimizer, lr_multiplier, train"):
        load_config(str(path))


def test_failing_config_leaves_the_import_statement_alone(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("raise RuntimeError('broken')\n")
    importer = builtins.__import__
    with pytest.raises(RuntimeError, match="broken"):
        load_config(str(path))
    assert builtins.__import__ is importer


def test_saved_config_loads_back(cfg, tmp_path):
    path = str(tmp_path / "config.yaml")
    cfg.model.half = "${.dim}"
    save_config(cfg, path)
    loaded = get_config(path)
    assert loaded.model.half == 256
    assert loaded.train == cfg.train
    assert instantiate(loaded.model.encoder).layers == 2


def test_config_with_a_lambda_cannot_be_saved(cfg, tmp_path):
    cfg.model.bad = lambda x: x
    with pytest.raises(ValueError, match="named functions"):
        save_config(cfg, str(tmp_path / "config.yaml"))
    assert not list(tmp_path.glob("*.pkl"))


def test_functions_in_a_config_in_python_are_values_when_it_is_loaded(tmp_path, monkeypatch):
    """So that what a run saves can be read as data."""
    monkeypatch.setenv("QUERYDET_TEST_NAME", "here")
    lines = "from querydet.config import get_config\n_c = get_config('quick/dino_synthetic.py')\n"
    lines += "".join(f"{name} = _c.{name}\n" for name in TOP_LEVEL)
    lines += (
        "train.output_dir = '${oc.env:QUERYDET_TEST_NAME}/x'\ndataloader.evaluator.output_dir = '${train.output_dir}'\n"
    )
    (tmp_path / "own.py").write_text(lines)
    cfg = load_config(str(tmp_path / "own.py"))
    assert cfg.train.output_dir == cfg.dataloader.evaluator.output_dir == "here/x"
    save_config(cfg, str(tmp_path / "config.yaml"))
    assert "oc.env" not in (tmp_path / "config.yaml").read_text()
    cfg.train.output_dir = "there"
    assert cfg.dataloader.evaluator.output_dir == "there"  # references to other keys stay


def test_a_config_in_python_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "base.py").write_bytes(b"\xef\xbb\xbfvalue = {'a': 'caf\xc3\xa9'}\n")
    (tmp_path / "own.py").write_bytes(b"\xef\xbb\xbffrom .base import value as _value\nmodel = _value\n")
    assert get_config(str(tmp_path / "own.py")).model.a == "café"
