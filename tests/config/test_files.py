"""Finding, loading, overriding and saving configs."""

import builtins

import pytest
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import OmegaConf

from querydet.config import apply_overrides, find_config, get_config, load_config, save_config, shipped_configs


class Encoder:
    """Something to build."""

    def __init__(self, layers=6, dropout=0.0, norm=None):
        self.layers, self.dropout, self.norm = layers, dropout, norm


class Wide(Encoder):
    """Something else to build."""


@pytest.fixture
def cfg():
    return OmegaConf.create(
        {
            "model": {
                "dim": 256,
                "encoder": L(Encoder)(layers=2),
                "neck": None,
                "twin": "${.encoder}",
                "sizes": [1, {"level": 2}],
            },
            "train": {"max_iter": None, "eval_period": 1, "amp": {"enabled": False, "dtype": "bfloat16"}},
        },
        flags={"allow_objects": True},
    )


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("model.dmi=5", "model.dim"),
        ("train.eval_peroid=1", "train.eval_period"),
        ("trian.max_iter=5", "train.max_iter"),
        ("model.encoder.layres=5", "model.encoder.layers"),
        ("model.encoder.drop_out=0.1", "model.encoder.dropout"),  # an argument that the config does not mention
        ("train.amp={enabld: true}", "train.amp.enabled"),
        ("max_iter=5", "train.max_iter"),
        ("model.sizes.1.levl=5", "model.sizes.1.level"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest(cfg, override, nearest):
    before = OmegaConf.to_container(cfg)
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        apply_overrides(cfg, [override])
    assert OmegaConf.to_container(cfg) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.neck.width=1", r"'model.neck' is not set \(None\)"),
        ("model.encoder.norm.eps=1", "'model.encoder.norm' is not set"),
        ("model.dim.x=1", "'model.dim' is the value 256"),
        ("model.sizes.2=1", "has no entry '2'"),
        ("model.dim", "not of the form key=value"),
        ("--resume", "before the first key=value"),
        ("+model.new=1", "not supported"),
        ("~model.dim=256", "not supported"),
        ("model.dim=1,2", "comma"),
        ("model.dim=[1", "cannot be parsed"),
        ("model.encoder._target_=tests.config.test_files.Absent", "cannot be imported"),
        ("model@x=5", r"packages \(@\) are not supported"),
        ("train.amp.enabled=off", r"'train.amp.enabled' is a boolean \(true or false\), not a string"),
        ("train.amp={enabled: no}", r"'train.amp.enabled' is a boolean"),
        ("train.amp.enabled=1", "is a boolean .*, not a number"),
        ("model.dim=1e-4x", "'model.dim' is a number, not a string"),
        ("model.dim=true", "'model.dim' is a number, not a boolean"),
        ("model.encoder.dropout=high", "'model.encoder.dropout' is a number, not a string"),  # a default of the class
        ("train.amp.dtype=16", r"is a string, not a number; to mean a string write \"train.amp.dtype='16'\""),
        ("train=5", "'train' is a group of keys, not a number"),
        ("model.sizes=5", "'model.sizes' is a list, not a number"),
        ("model.twin.layers=5", "'model.twin' is taken from another key, change 'model.encoder.layers'"),
        ("model.twin={layers: 5}", "change 'model.encoder.layers'"),
    ],
)
def test_wrong_override_is_refused(cfg, override, message):
    with pytest.raises(ValueError, match=message):
        apply_overrides(cfg, [override])


def test_overrides_are_applied(cfg):
    apply_overrides(
        cfg,
        [
            "model.dim=128",
            "train.max_iter=20",
            "train.eval_period=500it",
            "train.amp={enabled: true}",
            "model.encoder.dropout=0.5",
            "model.sizes.1.level=7",
            f"model.encoder._target_={__name__}.Wide",
            "model.neck='a,b'",
            "model.twin=null",
            "model.encoder.norm=/home/jürgen o'neil/größe 1",
        ],
    )
    assert (cfg.model.dim, cfg.train.max_iter, cfg.train.eval_period) == (128, 20, "500it")
    assert cfg.train.amp == {"enabled": True, "dtype": "bfloat16"}
    assert cfg.model.encoder.norm == "/home/jürgen o'neil/größe 1"
    assert cfg.model.sizes[1].level == 7
    assert cfg.model.neck == "a,b"
    encoder = instantiate(cfg.model.encoder)
    assert isinstance(encoder, Wide)
    assert (encoder.layers, encoder.dropout) == (2, 0.5)


def test_config_file_is_found_by_path_and_by_name(tmp_path, monkeypatch):
    path = find_config("common/train.py")
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/common/train.py") == find_config(path) == path
    assert "configs/common/train.py" in shipped_configs()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("common/trian.py", FileNotFoundError, "nearest shipped one is 'configs/common/train.py'"),
        ("common/train", ValueError, "has to end in .py"),
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
