"""The comparison of miniature trainings: which methods, and what is made of their runs."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from querydet.config import load_config, save_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def convergence():
    spec = importlib.util.spec_from_file_location("convergence", ROOT / "benchmarks" / "convergence.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder: Path, config: Path, values: list[float], memory: int) -> None:
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"iteration": 100 * step - 1, "bbox/AP": ap, "bbox/AP50": 2 * ap})
        for step, ap in enumerate(values, 1)
    ]
    (folder / "metrics.json").write_text("\n".join(lines) + "\n")
    (folder / "usage.json").write_text(json.dumps({"peak_memory_mib": memory}))
    (folder / "run.json").write_text(json.dumps([{"commit": "abc"}]))
    save_config(load_config(str(config)), str(folder / "config.yaml"))


def settings_of(cfg: DictConfig, comparison: str) -> dict[str, Any]:
    """Settings of a training that its comparison holds fixed."""
    compared = ("output_dir", "amp") if comparison == "bfloat16_training" else ("output_dir",)
    return {name: value for name, value in cfg.train.items() if name not in compared}


def test_every_method_of_a_comparison_is_trained_alike(convergence) -> None:
    for comparison, baseline in convergence.BASELINES.items():
        configs = [
            load_config(str(convergence.config_of(comparison, name))) for name in convergence.methods(comparison)
        ]
        assert configs[0].train.output_dir == f"output/{comparison}/{baseline}"
        for cfg in configs:
            for key in ("dataloader", "optimizer", "lr_multiplier"):
                assert cfg[key] == configs[0][key]
            assert settings_of(cfg, comparison) == settings_of(configs[0], comparison)
            assert comparison != "bfloat16_training" or cfg.model == configs[0].model
    dense = set(convergence.methods("convergence_dense"))
    assert {name.removeprefix("group_") for name in dense} == {name for name in dense if not name.startswith("group_")}


def test_a_report_has_means_and_spreads_and_multiples_of_the_baseline(convergence, tmp_path: Path) -> None:
    for method, runs, memory in (("conditional_detr", ([1.0, 4.0], [3.0, 6.0]), 100), ("detr", ([0.0, 2.0],), 150)):
        for seed, values in enumerate(runs):
            write_run(
                tmp_path / f"{method}_seed{seed}", convergence.config_of("convergence_dense", method), values, memory
            )
    (tmp_path / "cost.json").write_text(json.dumps({"conditional_detr": 0.2, "detr": 0.1}))
    found = convergence.report("convergence_dense", tmp_path, {})["methods"]
    base, detr = found["conditional_detr"], found["detr"]
    assert (base["final_AP_mean"], base["final_AP_std"], base["seeds"]) == (5.0, 1.41, [0, 1])
    assert base["curves"]["AP"] == {"100": [1.0, 3.0], "200": [4.0, 6.0]}
    assert (detr["final_AP_mean"], detr["final_AP_std"]) == (2.0, None)
    assert (detr["seconds_per_iteration_to_baseline"], detr["peak_memory_mib_to_baseline"]) == (0.5, 1.5)
    assert detr["config"] == "configs/convergence_dense/detr.py"
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        convergence.report("convergence", tmp_path, {})


def test_methods_without_runs_keep_their_results_as_long_as_they_are_compared(convergence, tmp_path: Path) -> None:
    config = convergence.config_of("convergence_dense", "detr")
    write_run(tmp_path / "detr_seed0", config, [0.0, 2.0], 150)
    kept, old = {"final_AP_mean": 7.0}, {"final_AP_mean": 1.0}
    known = {"dab_detr": kept, "detr": old, "a_method_that_was_removed": old}
    found = convergence.report("convergence_dense", tmp_path, known)["methods"]
    assert found["dab_detr"] == kept
    assert found["detr"]["final_AP_mean"] == 2.0
    assert set(found) == {"dab_detr", "detr"}
