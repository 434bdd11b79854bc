"""The record of a run in its folder."""

import torch

from querydet.data.fingerprint import fingerprint
from querydet.engine import train
from querydet.engine.training import build_train_data
from querydet.utils.provenance import read_parts


def test_the_run_folder_says_what_ran(toy_config, tmp_path, monkeypatch):
    monkeypatch.setattr("querydet.engine.run.run_record.uncommitted", lambda: "the changes\n")
    cfg = toy_config("train.max_iter=1")
    train(cfg)
    (part,) = read_parts(str(tmp_path / "run"))
    assert part["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert part["processes"] == 1
    assert {"commit", "branch", "changed", "untracked"} == part["git"].keys() or part["git"] == {}
    assert part["data"]["train"]["images"] == 16
    assert part["data"]["test"]["images"] == 3
    assert part["data"]["train"]["annotations_sha256"] != part["data"]["test"]["annotations_sha256"]
    assert (tmp_path / "run" / "uncommitted.diff").read_text() == "the changes\n"


def test_a_fingerprint_is_of_the_content(toy_config, tmp_path):
    def of(**changes):
        return fingerprint(build_train_data(toy_config(*(f"{key}={value}" for key, value in changes.items()))).dataset)

    node = "dataloader.train.dataset"
    first, again, other = of(), of(), of(**{f"{node}.num_images": 17})
    assert first == again
    assert first["annotations_sha256"] != other["annotations_sha256"]
    moved = of(**{f"{node}.root": tmp_path / "elsewhere"})
    kept = ("images", "annotations_sha256", "hashed_files", "files_sha256")
    assert [moved[key] for key in kept] == [first[key] for key in kept]
    image = next((tmp_path / "elsewhere").rglob("*.png"))
    image.write_bytes(image.read_bytes() + b"x")
    assert of(**{f"{node}.root": tmp_path / "elsewhere"})["files_sha256"] != first["files_sha256"]
