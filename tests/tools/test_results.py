"""The tools that turn runs into data files and these into the README's tables."""

import json
import re
from pathlib import Path

import pytest

from querydet.config import get_config, save_config
from querydet.utils.provenance import commit, recorded

PART = {"command": "python train_net.py x", "commit": "abc", "date": "2020-01-01", "machine": "abacus"}


@pytest.fixture
def run(tmp_path):
    """The folder of a run of 20 iterations, two of them evaluated."""
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [
        {"iteration": 9, "total_loss": 3.0, "time": 6.0, "bbox/AP": 10.0, "bbox/AP50": 20.0},
        {"iteration": 19, "total_loss": 2.0, "time": 6.0, "bbox/AP": 11.0, "bbox/AP50": 19.0},
    ]
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    save_config(get_config("quick/dino_synthetic.py"), str(folder / "config.yaml"))
    return folder


def record(tool, run, *options):
    output = run / "new" / "record.json"
    tool("record_run").main([str(run), "--output", str(output), *options])
    return json.loads(output.read_text())


def test_record_is_that_of_the_run(tool, run):
    parts = [{"start_iteration": 0, **PART, "minutes": 3}, {"start_iteration": 10, **PART, "minutes": 1.5}]
    only_evaluated = {"start_iteration": 20, **PART, "minutes": 7}
    (run / "run.json").write_text(json.dumps([*parts, only_evaluated]))
    found = record(tool, run)
    assert PART.items() <= found.items()
    assert (found["minutes"], found["iterations"], found["batch_size"], found["best_AP50"]) == (4.5, 20, 8, 20.0)
    assert found["evaluations"] == {"10": {"AP": 10.0, "AP50": 20.0}, "20": {"AP": 11.0, "AP50": 19.0}}
    assert "note" not in found
    assert record(tool, run, "--command", "make quickstart")["command"] == "make quickstart"


def test_a_record_has_the_results_of_masks(tool, run):
    (run / "run.json").write_text(json.dumps([{"start_iteration": 0, **PART, "minutes": 3}]))
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    lines[0] |= {"segm/AP": 8.0, "segm/AP50": 15.0}
    (run / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = record(tool, run)
    assert found["evaluations"]["10"] == {"AP": 10.0, "AP50": 20.0, "mask_AP": 8.0, "mask_AP50": 15.0}
    assert found["evaluations"]["20"] == {"AP": 11.0, "AP50": 19.0}
    assert (found["best_AP50"], found["best_mask_AP50"]) == (20.0, 15.0)


def test_minutes_of_a_killed_part_are_estimated_and_this_is_said(tool, run):
    (run / "run.json").write_text(json.dumps([{"start_iteration": 0, **PART}]))
    found = record(tool, run)
    assert found["minutes"] == 2.0
    assert "killed: minutes are the median step" in found["note"]


def test_run_without_provenance_needs_a_command_and_says_what_is_guessed(tool, run, capsys):
    with pytest.raises(SystemExit):
        record(tool, run)
    assert "no run.json that tells the command: add --command" in capsys.readouterr().err
    found = record(tool, run, "--command", "train")
    assert (found["command"], found["commit"], found["minutes"]) == ("train", commit(), 2.0)
    assert "those of the recording" in found["note"]


def test_every_part_of_a_run_is_recorded(tmp_path):
    for start in (0, 5):
        with recorded(str(tmp_path), start, started=0.0):
            pass
    with pytest.raises(KeyboardInterrupt), recorded(str(tmp_path), 8, started=0.0):
        raise KeyboardInterrupt
    parts = json.loads((tmp_path / "run.json").read_text())
    assert [part["start_iteration"] for part in parts] == [0, 5, 8]
    assert all(part["minutes"] > 0 and part["machine"] for part in parts)
    with recorded(str(tmp_path), 0, started=0.0):  # a new run
        assert "minutes" not in json.loads((tmp_path / "run.json").read_text())[0]


def test_sections_of_the_readme_are_replaced_and_nothing_else(tool, monkeypatch):
    module = tool("update_readme")
    monkeypatch.setattr(module, "SECTIONS", {"speed": lambda: "new"})
    text = "a\n<!-- speed -->\nold\nolder\n<!-- /speed -->\nb\n"
    assert module.updated(text) == "a\n<!-- speed -->\nnew\n<!-- /speed -->\nb\n"
    with pytest.raises(ValueError, match="nothing makes the section <!-- sped -->"):
        module.updated("<!-- sped -->\n<!-- /sped -->")


def test_difference_between_readme_and_data_files_is_found(tool, monkeypatch, tmp_path):
    module = tool("update_readme")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- speed -->\n<!-- /speed -->\n")
    monkeypatch.setattr(module, "DOCUMENTS", (readme,))
    monkeypatch.setattr(module, "SECTIONS", {"speed": lambda: "new"})
    with pytest.raises(SystemExit, match="differs"):
        module.main(["--check"])
    module.main([])
    assert "new" in readme.read_text()
    module.main(["--check"])


def test_summary_names_command_machine_and_commit(tool, monkeypatch):
    module = tool("update_readme")
    evaluations = {"10": {"AP": 10.0, "AP50": 20.0}}
    data = {**PART, "minutes": 4.5, "batch_size": 8, "evaluations": evaluations}
    monkeypatch.setattr(module, "load", lambda name: data)
    text = module.run_summary("any")
    for part in (*PART.values(), "20.0", "10.0"):
        assert part in text


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ({}, ""),
        ({"paper": {"parameters_millions": 44, "gflops": 94}}, "44 M"),
        ({"paper": {"parameters_millions": 44}, "official_code": {"trainable": 43_472_577}}, "43,472,577 trainable"),
        ({"paper": {"gflops": 90}, "official_code": {"parameters": 44_186_401, "trainable": 1}}, "44,186,401"),
        ({"official_code": {"parameters": 43_970_257, "num_classes": 80}}, "43,970,257 with 80 classes"),
    ],
)
def test_the_most_exact_published_number_of_parameters_is_shown(tool, published, text):
    assert tool("update_readme").published_parameters(published) == text


def test_every_dense_recipe_has_a_published_cost_beside_its_own_and_agrees(tool):
    """Papers print means over COCO: within the range of our two sizes. No paper has the others."""
    record, unpublished = tool("update_readme").load("model_facts"), []
    for model in record["models"]:
        if not re.search(r"/(ms_|group_)?(deta_)?(dn_)?(dab_|conditional_)?detr_r50_", model["config"]):
            continue
        if "encoder" not in model["parameters_by_part"] or model["flops"]["800x1066"]["operator"]:
            continue  # deformable attention
        paper = model["published"].get("paper", {})
        if "gflops" not in paper:
            unpublished.append(Path(model["config"]).stem)
            continue
        low, high = (each["multiply_adds"] / 1e9 for each in model["flops"].values())
        assert low < paper["gflops"] < high, model["config"]
    without = r"conditional_detr_r50_naive_12ep|deta_detr_\w+|ms_dn_dab_detr_r50_\w+"
    assert [name for name in unpublished if not re.fullmatch(without, name)] == []
