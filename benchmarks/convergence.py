"""Trains every method in miniature with equal iterations and several seeds, and writes how fast each one learns.

    make convergence
    python benchmarks/convergence.py run --seeds 0 1 2
    python benchmarks/convergence.py cost
    python benchmarks/convergence.py report
    python benchmarks/convergence.py run --comparison convergence_dense --methods detr group_detr

There are four comparisons, each with configs, data and iterations of its own: `convergence`, of the models with
deformable attention, `convergence_dense`, of those with standard attention, which learn more slowly,
`convergence_masks`, of those that predict masks, and `bfloat16_training`, of one model in two precisions. The name is
that of the folder of configs, of the folder of runs in `output`, of the data file and of the picture, which shows the
AP of masks where there are some.

`run` trains all runs that the output folder lacks, one after the other, and can be stopped and started again.
`cost` times a training step of every method in turns, on the same batches, so that other work of the machine affects
all of them. `report` writes AP over the iterations (mean and standard deviation over the seeds that are there),
seconds of an iteration and peak memory to a data file, and draws the curves (like figure 1 of Group DETR, arXiv
2207.13085, and figure 7 of DINO, arXiv 2203.03605). Methods without a run in the folder keep their results.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from querydet.config import load_config
from querydet.engine.precision import amp_dtype
from querydet.utils.provenance import provenance, read_parts
from querydet.visualization import read_metrics

ROOT = Path(__file__).resolve().parents[1]
BASELINES = {  # of each comparison
    "convergence": "deformable_detr_pp",
    "convergence_dense": "conditional_detr",
    "convergence_masks": "mask_deformable_detr_pp",
    "bfloat16_training": "float32",
}
METRICS = {
    "bbox/AP": "AP",
    "bbox/AP50": "AP50",
    "segm/AP": "mask AP",
    "segm/AP50": "mask AP50",
}  # names in the data file


def config_of(comparison: str, method: str) -> Path:
    """Return the path of a method's config."""
    return ROOT / "configs" / comparison / f"{method}.py"


def methods(comparison: str) -> list[str]:
    """Return the names of the configs to compare, the baseline first."""
    names = (path.stem for path in config_of(comparison, "").parent.glob("*.py"))
    return sorted(names, key=lambda name: (name != BASELINES[comparison], name))


def train(config: Path, seed: int, folder: Path, overrides: Sequence[str]) -> None:
    """Train a method with one seed in a process of its own, and record that process's peak memory.

    Raises:
        RuntimeError: when the training fails.
    """
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", str(config)]
    command += ["--num-gpus", "0", "--resume", f"train.output_dir={folder}", f"train.seed={seed}", *overrides]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{config.stem} with seed {seed} ended with status {status}: {' '.join(command)}")
    (folder / "usage.json").write_text(json.dumps({"peak_memory_mib": round(usage.ru_maxrss / 1024)}) + "\n")


def run(configs: Sequence[Path], seeds: Sequence[int], output: Path, overrides: Sequence[str]) -> None:
    """Train all runs that are not finished: all methods with the first seed, then all with the next."""
    for seed in seeds:
        for config in configs:
            folder = output / f"{config.stem}_seed{seed}"
            if not (folder / "usage.json").exists():
                train(config, seed, folder, overrides)


def measure_cost(configs: Sequence[Path], repeats: int) -> dict[str, float]:
    """Measure the median seconds of a training step (forward, backward, optimizer) of each method; they take turns.

    Args:
        configs: configs of the methods; the data is that of the first.
        repeats: number of batches.
    """
    cfg = load_config(str(configs[0]), ["dataloader.train.num_workers=0"])
    batches = list(islice(iter(instantiate(cfg.dataloader.train)), repeats + 1))
    steps = {config.stem: _step(config) for config in configs}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for batch in batches:
        for name, step in steps.items():
            start = time.perf_counter()
            step(batch)
            seconds[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(values[1:]), 4) for name, values in seconds.items()}  # the first warms up


def _step(config: Path) -> Callable[[list[dict[str, Any]]], None]:
    torch.manual_seed(0)
    cfg = load_config(str(config))
    model = instantiate(cfg.model).train()
    optimizer = instantiate({**cfg.optimizer, "model": model})
    dtype = amp_dtype(cfg.train.amp, torch.device("cpu"))

    def step(batch: list[dict[str, Any]]) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            losses = torch.stack(list(model(batch).values())).sum()
        losses.backward()
        optimizer.step()

    return step


def summarize(config: Path, folders: Sequence[Path], seconds: float | None) -> dict[str, Any]:
    """Compute mean and spread of a method over its runs."""
    metrics = [read_metrics(str(folder)) for folder in folders]
    cfg = load_config(str(folders[0] / "config.yaml"))
    curves = {
        shown: {
            str(step + 1): [round(run[name][step], 3) for run in metrics if step in run[name]]
            for step in metrics[0][name]
        }
        for name, shown in METRICS.items()
        if name in metrics[0]
    }
    memory = [json.loads((folder / "usage.json").read_text())["peak_memory_mib"] for folder in folders]
    finals = {
        f"final_{shown.replace(' ', '_')}": [values[-1] for values in zip(*curves[shown].values(), strict=True)]
        for shown in ("AP", "mask AP")
        if shown in curves
    }
    return {
        "config": config.relative_to(ROOT).as_posix(),
        "seeds": [int(folder.name.rpartition("seed")[2]) for folder in folders],
        "commits": sorted({part["commit"] for folder in folders for part in read_parts(str(folder))}),
        "batch_size": cfg.dataloader.train.total_batch_size,
        "curves": curves,
        **{f"{name}_mean": round(statistics.mean(final), 2) for name, final in finals.items()},
        **{
            f"{name}_std": round(statistics.stdev(final), 2) if len(final) > 1 else None
            for name, final in finals.items()
        },
        "seconds_per_iteration": seconds,
        "peak_memory_mib": round(statistics.median(memory)),
    }


def report(comparison: str, output: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Summarize all finished runs of a comparison, which are in a folder.

    Args:
        comparison: its name.
        output: folder of the runs.
        known: results of methods by name, which stay where the folder holds no run of a method.

    Raises:
        FileNotFoundError: when there is no run.
    """
    cost_file = output / "cost.json"
    cost = json.loads(cost_file.read_text()) if cost_file.exists() else {}
    results = {}
    for method in methods(comparison):
        folders = sorted(path.parent for path in output.glob(f"{method}_seed*/usage.json"))
        if folders:
            results[method] = summarize(config_of(comparison, method), folders, cost.get(method))
    if not results:
        raise FileNotFoundError(f"{output} holds no finished run: start with 'run'")
    base = results.get(BASELINES[comparison])
    for result in results.values():
        for name in ("seconds_per_iteration", "peak_memory_mib"):
            measured = base is not None and base[name] and result[name]
            result[f"{name}_to_baseline"] = round(result[name] / base[name], 2) if measured else None
    together = {method: results.get(method, known.get(method)) for method in methods(comparison)}
    shown = {method: result for method, result in together.items() if result is not None}
    return {**provenance(sys.argv), "baseline": BASELINES[comparison], "methods": shown}


def plot(results: dict[str, Any], path: Path) -> None:
    """Plot AP over iterations, of masks where there are some: a line for each method, and one standard deviation."""
    figure = Figure(figsize=(9, 5.5), dpi=110, layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = "mask AP" if all("mask AP" in result["curves"] for result in results["methods"].values()) else "AP"
    final = f"final_{shown.replace(' ', '_')}_mean"
    ranked = sorted(results["methods"].items(), key=lambda item: -item[1][final])
    for index, (method, result) in enumerate(ranked):
        steps = [int(step) for step in result["curves"][shown]]
        values = np.array(list(result["curves"][shown].values()))
        mean, spread = values.mean(1), values.std(1, ddof=1) if values.shape[1] > 1 else np.zeros(len(values))
        style = {"color": "black", "linestyle": "--"} if method == results["baseline"] else {"color": f"C{index % 10}"}
        style["linestyle"] = ":" if index >= 10 and method != results["baseline"] else style.get("linestyle", "-")
        axes.plot(steps, mean, marker=".", label=f"{method} ({mean[-1]:.1f}, n={values.shape[1]})", **style)
        axes.fill_between(steps, mean - spread, mean + spread, color=style["color"], alpha=0.12, linewidth=0)
    axes.set_xlabel("iteration")
    axes.set_ylabel(f"{shown} in %")
    axes.set_title("miniature models on synthetic scenes")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="train the runs that are missing")
    runner.add_argument("--methods", nargs="+", help="default: all")
    runner.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    runner.add_argument("overrides", nargs="*", default=[], help="key=value of every run, after --")
    costs = commands.add_parser("cost", help="time a step of every method")
    costs.add_argument("--repeats", type=int, default=20)
    reporter = commands.add_parser("report", help="write the data file and the plot")
    for command in (runner, costs, reporter):
        command.add_argument("--comparison", choices=BASELINES, default="convergence")
        command.add_argument("--output", type=Path, help="folder of the runs; default: output/COMPARISON")
    arguments = parser.parse_args(argv)
    comparison = arguments.comparison
    output = arguments.output or Path("output") / comparison
    if arguments.command == "report":
        data = ROOT / "benchmarks" / "results" / f"{comparison}.json"
        known = json.loads(data.read_text())["methods"] if data.exists() else {}
        results = report(comparison, output, known)
        picture = ROOT / "docs" / "images" / f"{comparison}.png"
        data.write_text(json.dumps(results, indent=2) + "\n")
        plot(results, picture)
        print(f"wrote {data} and {picture}")
    elif arguments.command == "cost":
        seconds = measure_cost([config_of(comparison, method) for method in methods(comparison)], arguments.repeats)
        output.mkdir(parents=True, exist_ok=True)
        (output / "cost.json").write_text(json.dumps(seconds, indent=2) + "\n")
    else:
        names = arguments.methods or methods(comparison)
        if set(names) - set(methods(comparison)):
            parser.error(f"--methods of {comparison} are {', '.join(methods(comparison))}; got {', '.join(names)}")
        run([config_of(comparison, method) for method in names], arguments.seeds, output, arguments.overrides)


if __name__ == "__main__":
    main()
