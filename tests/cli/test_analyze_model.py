"""``querydet analyze``: parameters, FLOPs and times."""

import json
from pathlib import Path

import pytest

from querydet.analysis.flops import build_on_meta
from querydet.cli import analyze_model
from querydet.config import shipped_configs
from tests.engine.conftest import DINO_CONFIG

CONFIG = "projects/dino/configs/dino_r50_4scale_12ep.py"


def test_numbers_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results" / "facts.json"
    analyze_model.main([CONFIG, "--size", "320x256", "--json", str(path), "model.num_classes=91"])
    printed = capsys.readouterr().out
    assert "46,893,182" in printed
    assert "279 G" in printed
    record = json.loads(path.read_text())
    assert record["command"].startswith(f"python -m querydet analyze {CONFIG}")
    assert record["date"]
    (model,) = record["models"]
    assert (model["config"], model["num_classes"], model["trainable"]) == (CONFIG, 91, 46670782)
    assert sum(model["parameters_by_part"].values()) == model["parameters"]
    count = model["flops"]["320x256"]
    assert count["total_without_operator"] + count["operator"] == sum(count["by_op"].values())
    assert model["published"]["official_code"]["parameters"] == model["parameters"]


def test_options_may_stand_between_configs_and_overrides() -> None:
    args = analyze_model.parse_arguments(["a.py", "--size", "64x32", "b.py", "model.num_classes=3"])
    assert (args.configs, args.overrides, args.size) == (["a.py", "b.py"], ["model.num_classes=3"], ["64x32"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["model.num_classes=3"], "at least one config"), (["a.py", "--size", "800"], "such as 800x1066, found '800'")],
)
def test_bad_arguments_are_explained(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        analyze_model.parse_arguments(argv)
    assert message in capsys.readouterr().err


def test_misspelt_override_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.num_classes"):
        analyze_model.main([CONFIG, "model.num_clases=91"])


def test_every_published_entry_describes_a_shipped_config() -> None:
    entries = analyze_model.read_published()
    assert len(entries) > 5
    described = [analyze_model.find_published(name, entries).get("name") for name in shipped_configs()]
    for entry in entries:
        assert entry["name"] in described
        assert all(part["source"] for part in (entry.get("paper"), entry.get("official_code")) if part)


def test_parts_are_timed_and_activations_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.json"
    options = ["--size", "64x96", "--time", "inference", "training", "--repeats", "2", "--warmup", "0"]
    options += ["--batch-size", "2", "--objects", "3", "--json", str(path)]
    analyze_model.main([DINO_CONFIG, *options, "train.device=cpu"])
    printed = capsys.readouterr().out
    assert "cpu, 2 x 64x96, medians of 2; peak memory of inference" in printed
    for part in ("backbone", "assignment", "postprocess", "optimizer"):
        assert f"\n| {part} " in printed
    record = json.loads(path.read_text())
    assert "the same on every machine" not in record["machine"]
    measured = record["models"][0]["measured"]
    assert len(measured["inference"]["samples"]["postprocess"]) == 2
    assert measured["kept"]["bytes_by_part"]["encoder"] > 1000
    assert record["models"][0]["flops"]["64x96"]["activations"]["encoder"] > 1000


def test_names_of_the_zoo_are_configs(capsys: pytest.CaptureFixture[str]) -> None:
    analyze_model.main(
        ["dino_r50_4scale_12ep", "--size", "64x64", "model.num_classes=91", "model.selection.num_queries=9"]
    )
    assert "projects/dino/configs/dino_r50_4scale_12ep.py" in capsys.readouterr().out
    with pytest.raises(KeyError, match="no published model"):
        analyze_model.main(["no_such_model"])
    for option in (["--batch-size", "0"], ["--repeats", "x"], ["--warmup", "-1"]):
        with pytest.raises(SystemExit):
            analyze_model.parse_arguments(["a.py", *option])
    assert "--warmup must be at least 0, found -1" in capsys.readouterr().err


def test_a_missing_checkpoint_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        analyze_model.main([DINO_CONFIG, "--size", "64x64", "--time", "inference", "--weights", "none.pth"])


def test_a_model_of_several_configs_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(analyze_model, "build_on_meta", lambda config: built.append(config) or build_on_meta(config))
    count = analyze_model.ModelCounter(["320x256"])
    folder = "projects/dino/configs/dino_r50_4scale"
    first, longer = (count(f"{folder}_{epochs}ep.py", [], []) for epochs in (12, 24))
    assert len(built) == 1
    assert (first.config, longer.config) == (f"{folder}_12ep.py", f"{folder}_24ep.py")
    assert first.flops == longer.flops
    assert count(f"{folder}_12ep.py", ["model.num_classes=91"], []).num_classes == 91
    assert len(built) == 2
