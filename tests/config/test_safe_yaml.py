"""YAML configs: what they may build, and everything else refused without being run."""

import pytest
from detectron2.config import instantiate
from detectron2.modeling.backbone.resnet import BasicBlock
from detectron2.utils.registry import locate

import querydet
from querydet.config import get_config, load_config, save_config
from querydet.config.safe_yaml import load_yaml, plain_config
from querydet.utils.targets import VARIABLE

DETECTORS = ("QueryDetector", "DINO", "DNDETR", "GroupDETR", "MSDETR", "DETA")  # public names that configs build


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "config.yaml").write_text(text)
        return str(tmp_path / "config.yaml")

    return write


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system ['touch {mark}']",
        "model: !!python/object/new:subprocess.Popen [['touch', '{mark}']]",
        "model: !!python/object/apply:builtins.open ['{mark}', 'w']",
        "model: !!python/module:os",
        "model: !!python/object:querydet.modeling.losses.L1Loss {weight: 1.0}",
        "!!python/object/apply:os.system ['touch {mark}']: 1",
    ],
)
def test_tags_that_stand_for_objects_are_refused_unrun(write, tmp_path, text):
    mark = tmp_path / "ran"
    path = write(text.replace("{mark}", str(mark)))
    for load in (load_yaml, get_config, load_config):
        with pytest.raises(ValueError, match="makes an object, which can run code; nothing was run"):
            load(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["os.system", "querydet.data.os.system", "detectron2.config.LazyConfig.load"])
def test_names_of_other_things_are_refused(write, name):
    with pytest.raises(ValueError, match=rf"block is '{name}', which"):
        load_yaml(write(f"block: !!python/name:{name} ''"))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.exec",
        "subprocess.run",
        "torch.load",
        "torch.hub.load",
        "functools.partial",
        "detectron2.config.LazyConfig.load",
        "detectron2.data.build.load_proposals_into_dataset",
        "querydet.config.get_config",
        "querydet.engine.launch",
        *(f"querydet.{name}" for name in querydet.__all__ if name not in DETECTORS),
        "querydet.config",  # a module
        "querydet.no_such_name",
        "querydet.importlib",
        "querydet.data.os.system",  # a module that a known package imported
        "querydet.data.coco.json.load",
        "torch.nn.functional.torch.load",
        "detectron2.modeling.backbone.resnet.np.load",
        "querydet.modeling.losses",  # a module
        "querydet.modeling.losses.NoSuchLoss",
        "querydet.data.load_synthetic",  # a part, but no model: it writes files
        "${other}",
        "",
    ],
)
def test_other_targets_are_refused_with_their_place(write, target):
    path = write(f"other: os.system\nmodel:\n  heads:\n    - _target_: '{target}'\n      path: x\n")
    with pytest.raises(ValueError, match=rf"model\.heads\.0\._target_ is .*{VARIABLE}"):
        load_yaml(path)


@pytest.mark.parametrize("name", DETECTORS)
def test_public_names_of_detectors_are_known_parts(write, name):
    cfg = load_yaml(write(f"model: {{_target_: querydet.{name}}}"))
    assert locate(cfg.model._target_) is getattr(querydet, name)


def test_a_target_that_is_itself_a_node_is_refused(write):
    path = write("model: {_target_: {_target_: querydet.modeling.losses.L1Loss, weight: 1.0}}")
    with pytest.raises(ValueError, match="not the name of a class or function"):
        load_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "${oc.create:'{_target_: os.system, command: ls}'}",
        "${ oc.decode:x}",
        "${a.${oc.create:x}}",
        "${oc.${s}:x}",  # a resolver whose name is put together
        "${${s}:x}",
        "${oc.${oc.env:HOME,create}:x}",
        "${oc.env:HOME}",
        "${oc.env: HOME}",
        "${oc.env:HOME,x}/y",
        "${oc.select:s}",
        "${oc.deprecated:s}",
        "${oc.dict.values:s}",
        "${s}${s}",  # two, which together may mean another
        "$${s}",
        "\\\\${s}",
        "${s}\\\\",
        "${.[${s}]}",
        "${\u00a0s}",
        "${s",
        "${}",
        "${}}${s}",
    ],
)
@pytest.mark.parametrize("trusted", [[], ["*"]])
def test_functions_and_texts_that_are_put_together_are_refused(write, text, trusted):
    path = write(f's: create\nmodel: "{text}"')
    for load in (lambda path: load_yaml(path, trusted), plain_config):
        with pytest.raises(ValueError, match="may only refer to one other key"):
            load(path)


def test_references_work(write):
    cfg = load_yaml(write("a: 3\nb: ${a}\nc: ${.a}\nd: '${a}/x'\ne: !!python/tuple [1, 2]"))
    assert (cfg.b, cfg.c, cfg.d, list(cfg.e)) == (3, 3, "3/x", [1, 2])


def test_no_reference_comes_out_of_references(write):
    """Each text alone is harmless; the next reader of the result would call the function."""
    with pytest.raises(ValueError, match=r"may only refer|becomes '\$\{oc\.env:HOME\}', another reference"):
        load_yaml(write("a: '{oc.env:HOME}'\nb: '$'\nc: '${b}{oc.env:HOME}'"))


def test_known_parts_are_built(write):
    cfg = load_yaml(
        write("model: {_target_: querydet.modeling.losses.L1Loss, weight: 2.5}\nother: {_target_: torch.nn.ReLU}")
    )
    assert instantiate(cfg.model).weight == 2.5
    assert not list(instantiate(cfg.other).parameters())


def test_a_trusted_module_can_be_allowed(write, monkeypatch):
    path = write("model: {_target_: collections.Counter}")
    with pytest.raises(ValueError, match="no known part"):
        load_yaml(path)
    assert "model" in load_yaml(path, allow=["collections"])
    monkeypatch.setenv(VARIABLE, "something.else, collections")
    assert instantiate(load_yaml(path).model) == {}
    monkeypatch.setenv(VARIABLE, "*")
    assert "model" in load_yaml(path)
    monkeypatch.setenv(VARIABLE, "coll")
    with pytest.raises(ValueError, match="was refused"):
        load_yaml(path)


@pytest.mark.parametrize(("text", "message"), [("- 1", "holds list"), ("", "holds NoneType"), ("a: [", "is no YAML")])
def test_what_is_no_config_is_refused(write, text, message):
    with pytest.raises(ValueError, match=message):
        load_yaml(write(text))


@pytest.mark.parametrize("name", ["group_detr/configs/group_dino_r50_4scale_12ep.py", "quick/dino_synthetic.py"])
def test_saved_configs_of_this_project_load_as_a_stranger_s_would(tmp_path, monkeypatch, name):
    monkeypatch.delenv(VARIABLE, raising=False)
    save_config(get_config(name), str(tmp_path / "config.yaml"))
    load_config(str(tmp_path / "config.yaml"))


def test_parts_can_be_named_without_being_called(write):
    cfg = load_yaml(write("block: !!python/name:detectron2.modeling.backbone.resnet.BasicBlock ''"))
    assert cfg.block is BasicBlock


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("model: {decoder: {num_layers: 1000000}}", "model.decoder.num_layers"),
        ("model: {backbone: {depths: [2, 2, 1.0e+9, 2]}}", r"model.backbone.depths.2"),
        ("model: {a: -1000000}", "model.a"),
        ("model: {a: .nan}", "model.a"),
        ("model: {a: .inf}", "model.a"),
        ("model: {depth: '${train.max_iter}'}\ntrain: {max_iter: 1000000}", "model.depth"),
        ("dataloader: {train: {total_batch_size: 1000000}}", "dataloader.train.total_batch_size"),
        ("dataloader: {test: {batch_size: 1000000}}", "dataloader.test.batch_size"),
        ("dataloader: {evaluator: [{num_bins: 1000000}]}", r"dataloader.evaluator.0.num_bins"),
        ("train: {test_time_augmentation: {ensemble: {num_detections: 1000000}}}", "train.test_time_augmentation"),
    ],
)
def test_numbers_that_no_detector_has_are_refused_with_their_key(write, text, key, monkeypatch):
    """Lists of such a length, and squares of such a size, hang or fill the memory wherever they are made."""
    path = write(text)
    with pytest.raises(ValueError, match=rf"{key}.* is .*no part of a detector, .*{VARIABLE}"):
        load_yaml(path)
    monkeypatch.setenv(VARIABLE, "*")
    assert load_yaml(path) is not None


def test_numbers_elsewhere_may_be_large(write):
    text = "dataloader: {test: {dataset: {seed: 987654321}}, evaluator: {dataset: '${dataloader.test.dataset}'}}"
    assert load_yaml(write(f"{text}\ntrain: {{max_iter: 1000000}}")).train.max_iter == 1000000
