"""The main program, as the README calls it."""

import json
import logging
import shutil
import time

import pytest
import torch

from querydet.checkpoint.seal import seal
from querydet.engine import argument_parser, main
from querydet.engine.run import lock
from tests.engine.conftest import CONFIG
from tests.engine.forked import fork_server
from tests.engine.test_train_net import read_checkpoint, read_metrics


def run_main(*arguments):
    main(argument_parser().parse_args(["--config-file", CONFIG, "--num-gpus", "0", *arguments]))


def test_commands_of_the_readme(tmp_path, capsys):
    """Train, refuse to overwrite, continue for longer, evaluate."""
    folder = tmp_path / "run"
    options = [f"train.output_dir={folder}", "train.max_iter=5"]
    run_main(*options)
    assert {path.name for path in folder.glob("*.pth")} == {"model_0000003.pth", "model_final.pth", "model_best.pth"}
    with pytest.raises(ValueError, match="earlier run: continue it with --resume"):
        run_main(*options)
    capsys.readouterr()
    run_main("--resume", f"train.output_dir={folder}", "train.max_iter=6")
    printed = capsys.readouterr().out
    assert "Starting training from iteration 5" in printed
    assert "iter: 5" in printed
    assert "copypaste: Task: bbox" in printed
    assert [line["iteration"] for line in read_metrics(folder)] == [1, 3, 5]  # as if it had been started for 6
    run_main("--resume", *options)  # complete: evaluates only
    assert "iter: " not in capsys.readouterr().out.partition("Starting training")[2]
    run_main("--eval-only", f"train.output_dir={tmp_path / 'eval'}", f"train.init_checkpoint={folder}/model_best.pth")
    assert "copypaste: Task: bbox" in capsys.readouterr().out


def snapshot(folder):
    """Bytes and times of everything in a folder, and its own."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


@pytest.fixture
def started(tmp_path):
    """A run that has been stopped, on data of its own; returns its options."""
    options = [f"train.output_dir={tmp_path / 'run'}", f"dataloader.train.dataset.root={tmp_path / 'data'}"]
    run_main(*options, "train.max_iter=2", "train.checkpointer.period=1it")
    for name in ("fvcore", "detectron2", "querydet"):
        for handler in list(logging.getLogger(name).handlers):  # a refused run is another process: its log is not open
            logging.getLogger(name).removeHandler(handler)
    return [*options, "train.max_iter=4"]


def refused(tmp_path, options, match):
    before = snapshot(tmp_path / "run")
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        run_main("--resume", *options)
    assert snapshot(tmp_path / "run") == before


def edit(tmp_path, change):
    """Changes the annotations of the training data where they are."""
    (path,) = (tmp_path / "data").rglob("annotations.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("model.dropout=0.5", "another config"),
        ("train.seed=7", "another config"),
        ("train.seed=-7", "train.seed"),
        (
            "dataloader.train.dataset.seed=3",
            "other training data than those of .*digest of images.*allow_changed_config",
        ),
        (
            "dataloader.train.dataset.num_images=12",
            "started on 16 training images, now there are 12.*allow_changed_config",
        ),
        ("train.eval_period=often", "train.eval_period"),
    ],
)
def test_a_refused_resume_changes_nothing(tmp_path, started, option, match):
    refused(tmp_path, [*started, option], f"(?s){match}")


def test_other_annotations_are_refused_with_what_differs_and_can_be_accepted(tmp_path, started, caplog):
    path = edit(tmp_path, lambda content: content["annotations"].pop())
    refused(
        tmp_path, started, rf"(?s){path}:\n  annotations: \d+ -> \d+\n  digest of images, .*: \w{{12}} -> \w{{12}}\nR"
    )
    run_main("--resume", *started, "train.allow_changed_config=True")
    run_main("--resume", *started, "train.max_iter=5")  # from now on these are the data


def test_a_box_that_moved_is_another_annotation(tmp_path, started):
    edit(tmp_path, lambda content: content["annotations"][0]["bbox"].__setitem__(2, 3.0))
    refused(tmp_path, started, "digest of images, annotations and categories")


def test_the_same_data_in_another_folder_or_file_are_the_same(tmp_path, started):
    edit(tmp_path, lambda content: content.update(info="written again"))
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    run_main("--resume", *started, f"dataloader.train.dataset.root={tmp_path / 'elsewhere'}")


def test_a_checkpoint_without_a_digest_is_compared_by_the_record(tmp_path, started, monkeypatch):
    monkeypatch.setattr("querydet.engine.hooks.same_data.SameData.load_state_dict", lambda *_: None)
    refused(tmp_path, [*started, "dataloader.train.dataset.seed=3"], "other training data")


@pytest.mark.parametrize("missing", [True, False])
def test_a_resume_that_finds_no_whole_checkpoint_changes_nothing(tmp_path, started, missing):
    for path in (tmp_path / "run").glob("model_*.pth"):
        path.write_bytes(b"PK half a file")
    if missing:
        (tmp_path / "run" / "run.lock").unlink()
    refused(tmp_path, started, "damaged")


def hold_lock(folder, locked):
    with lock.run_lock(folder) as held:
        held.begin()
        locked.set()
        time.sleep(60)


def test_a_resume_beside_a_running_run_changes_nothing(tmp_path, started, monkeypatch):
    monkeypatch.setattr(lock, "WAIT", 0.1)
    monkeypatch.setattr(lock.run_lock.__wrapped__, "__defaults__", (0.1,))
    context = fork_server()
    locked = context.Event()
    other = context.Process(target=hold_lock, args=(str(tmp_path / "run"), locked))
    other.start()
    try:
        assert locked.wait(60)
        refused(tmp_path, started, rf'in use by another run, .*"pid": {other.pid}')
    finally:
        other.kill()
        other.join()


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "log.txt", "config.yaml"])
@pytest.mark.parametrize("damage", ["empty", "binary", "folder", "deep"])
def test_a_damaged_file_beside_the_checkpoints_does_not_block_a_resume(tmp_path, started, name, damage):
    path = tmp_path / "run" / name
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "binary": bytes(range(256)), "deep": b"[" * 100_000}[damage])
    run_main("--resume", *started)
    assert read_checkpoint(tmp_path / "run" / "model_final.pth")["iteration"] == 3
    assert read_metrics(tmp_path / "run")
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())) == (1 if name == "run.json" else 2)


def first_state(content):
    return content["trainer"]["optimizer"]["state"][0]


def renamed_parameter(content, name):
    content["trainer"]["optimizer"]["param_groups"][0]["params"][0] = name


UNUSABLE = {
    "names of integers": lambda content: content["model"].update({"pixel_mean": torch.ones(3, dtype=torch.int64)}),
    "shape": lambda content: content["model"].update({"class_head.weight": torch.ones(1)}),
    "no trainer": lambda content: content.pop("trainer"),
    "optimizer": lambda content: content["trainer"].update(optimizer="x"),
    "moments of another shape": lambda content: first_state(content).update(exp_avg=torch.zeros(())),
    "moments of integers": lambda content: first_state(content).update(exp_avg=first_state(content)["exp_avg"].int()),
    "missing moments": lambda content: first_state(content).pop("exp_avg_sq"),
    "another group": lambda content: content["trainer"]["optimizer"]["param_groups"].append({"params": [], "lr": 1.0}),
    "fewer parameters": lambda content: content["trainer"]["optimizer"]["param_groups"][0]["params"].pop(),
    "no parameters": lambda content: content["trainer"]["optimizer"]["param_groups"][0].pop("params"),
    "parameters without numbers": lambda content: renamed_parameter(content, [0]),
    "iteration": lambda content: content.update(iteration=10**15),
    "schedule": lambda content: content["trainer"]["hooks"]["LRScheduler"].update(last_epoch=10**12),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_checkpoint_that_cannot_be_resumed_is_passed_over(tmp_path, started, caplog, kind):
    path = tmp_path / "run" / "model_final.pth"
    content = read_checkpoint(path)
    UNUSABLE[kind](content)
    torch.save(content, path)
    with open(path, "r+b") as file:
        seal(file)
    with caplog.at_level(logging.INFO):
        run_main("--resume", *started)
    assert "model_final.pth is damaged or refused, and is passed over" in caplog.text
    assert "Starting training from iteration 1" in caplog.text
    assert read_checkpoint(path)["iteration"] == 3


def test_an_optimizer_of_another_model_is_refused(tmp_path, started):
    for path in (tmp_path / "run").glob("model_*.pth"):
        content = read_checkpoint(path)
        content["trainer"]["optimizer"]["state"][0]["exp_avg"] = torch.zeros(())
        torch.save(content, path)
    refused(tmp_path, started, "state of the optimizer .* exp_avg is of the shape")


def test_the_log_begins_with_what_was_logged_before_the_run_was_accepted(tmp_path, started):
    text = (tmp_path / "run" / "log.txt").read_text()
    assert text.count("Serializing the dataset using") >= 2
    assert text.count("] querydet.engine.training INFO: Model:") == 1
