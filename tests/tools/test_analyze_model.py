"""The tool that prints parameters and FLOPs."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from querydet.config import shipped_configs

CONFIG = "projects/dino/configs/dino_r50_4scale_12ep.py"


@pytest.fixture
def analyze_model(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("analyze_model")


def test_numbers_are_printed_and_written(
    analyze_model: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results" / "facts.json"
    analyze_model.main([CONFIG, "--size", "320x256", "--json", str(path), "model.num_classes=91"])
    printed = capsys.readouterr().out
    assert "46,893,182" in printed
    assert "279 G" in printed
    record = json.loads(path.read_text())
    assert record["command"].startswith(f"python tools/analyze_model.py {CONFIG}")
    assert record["date"]
    (model,) = record["models"]
    assert (model["config"], model["num_classes"], model["trainable"]) == (CONFIG, 91, 46670782)
    assert sum(model["parameters_by_part"].values()) == model["parameters"]
    count = model["flops"]["320x256"]
    assert count["total_without_operator"] + count["operator"] == sum(count["by_op"].values())
    assert model["published"]["official_code"]["parameters"] == model["parameters"]


def test_options_may_stand_between_configs_and_overrides(analyze_model: ModuleType) -> None:
    args = analyze_model.parse_arguments(["a.py", "--size", "64x32", "b.py", "model.num_classes=3"])
    assert (args.configs, args.overrides, args.size) == (["a.py", "b.py"], ["model.num_classes=3"], ["64x32"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["model.num_classes=3"], "at least one config"), (["a.py", "--size", "800"], "such as 800x1066, found '800'")],
)
def test_bad_arguments_are_explained(
    analyze_model: ModuleType, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        analyze_model.parse_arguments(argv)
    assert message in capsys.readouterr().err


def test_misspelt_override_is_refused(analyze_model: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"model\.num_classes"):
        analyze_model.main([CONFIG, "model.num_clases=91"])


def test_every_published_entry_describes_a_shipped_config(analyze_model: ModuleType) -> None:
    entries = json.loads(analyze_model.PUBLISHED.read_text())["models"]
    described = [analyze_model.find_published(name, entries).get("name") for name in shipped_configs()]
    for entry in entries:
        assert entry["name"] in described
        assert all(part["source"] for part in (entry.get("paper"), entry.get("official_code")) if part)
