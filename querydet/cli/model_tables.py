"""Text tables of `querydet.cli.analyze_model`: parameters, FLOPs, times and memory of models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from querydet.analysis.flops import OPERATOR, FlopCount, ParameterCount
from querydet.analysis.measure import Measured
from querydet.analysis.timing import TRAINING


@dataclass(frozen=True)
class Facts:
    """Counts of the model of one config, beside the published ones."""

    config: str
    num_classes: int
    parameters: ParameterCount
    flops: dict[str, FlopCount]  # by size, such as "800x1066"
    activations: dict[str, dict[str, int]]  # by size and part
    published: dict[str, Any]  # an entry of the file of published numbers, or empty


def part_table(facts: Facts) -> str:
    """Return parameters and FLOPs of each part of one model."""
    rows: list[list[Any]] = []
    for part, (total, trainable) in facts.parameters.by_part.items():
        row: list[Any] = [part, f"{total:,}", f"{trainable:,}"]
        for count in facts.flops.values():
            ops = count.by_module.get(part, {})
            row += [_giga(sum(ops.values()) - ops.get(OPERATOR, 0)), _giga(ops.get(OPERATOR, 0))]
        row += [f"{activations.get(part, 0) / 1e6:.1f} M" for activations in facts.activations.values()]
        rows.append(row)
    total_row: list[Any] = ["all", f"{facts.parameters.total:,}", f"{facts.parameters.trainable:,}"]
    headers = ["part", "parameters", "trainable"]
    for size, count in facts.flops.items():
        total_row += [_giga(count.without_operator), _giga(count.operator)]
        headers += [f"GFLOPs {size}", "operator"]
    for size, activations in facts.activations.items():
        total_row.append(f"{sum(activations.values()) / 1e6:.1f} M")
        headers.append(f"activations {size}")
    return _table([*rows, total_row], headers)


def parameter_table(facts: Sequence[Facts]) -> str:
    """Return a row per config: parameters beside the published ones."""
    rows = []
    for one in facts:
        official, paper = one.published.get("official_code", {}), one.published.get("paper", {})
        counts = (one.parameters.total, one.parameters.trainable)
        published = (official.get("parameters"), official.get("trainable"))
        millions = paper.get("parameters_millions")
        numbers = ["" if count is None else f"{count:,}" for count in (*counts, *published)]
        rows.append([one.config, one.num_classes, *numbers, f"{millions} M" if millions else ""])
    headers = ["config", "classes", "parameters", "trainable", "official", "official trainable", "paper"]
    return _table(rows, headers)


def flop_table(facts: Sequence[Facts]) -> str:
    """Return a row per config and size: FLOPs beside the published ones."""
    rows = []
    for one in facts:
        paper = one.published.get("paper", {}).get("gflops")
        for size, count in one.flops.items():
            official = one.published.get("official_code", {}).get("flops", {}).get(size)
            counts = (count.without_operator, count.total, official, count.multiply_adds, count.dino_benchmark)
            rows.append([one.config, size, *(_giga(flops) for flops in counts), f"{paper} G" if paper else ""])
    headers = ["config", "size", "GFLOPs", "+ operator", "official", "multiply-adds", "+ element-wise", "paper"]
    return _table(rows, headers)


def time_table(measured: Measured, shape: str, repeats: int) -> str:
    """Return milliseconds of each part, and memory.

    Args:
        measured: times and memory of a model.
        shape: of the batch, for the line below the table, such as "2 x 800x1066".
        repeats: number of runs that the medians are of.
    """
    columns: dict[str, dict[str, str]] = {}
    notes = []
    for mode, timing in (("inference", measured.inference), ("training", measured.training)):
        if timing is None:
            continue
        medians = timing.milliseconds
        columns[f"{mode}, ms"] = {part: f"{value:.2f}" for part, value in medians.items()}
        columns["%" if mode == "inference" else "% "] = {
            part: f"{100 * value / medians['total']:.1f}" for part, value in medians.items()
        }
        notes.append(f"peak memory of {mode} {timing.peak_memory / 2**20:,.0f} MiB")
    if measured.kept is not None:
        sizes = {**measured.kept.bytes_by_part, "total": measured.kept.bytes}
        columns["kept for backward, MiB"] = {part: f"{size / 2**20:.1f}" for part, size in sizes.items()}
        notes.append(f"{measured.kept.tensors} tensors kept for the backward pass")
    parts = list(dict.fromkeys(part for column in columns.values() for part in column if part))
    parts.sort(key=lambda part: (*TRAINING, "postprocess", "other", "total").index(part))
    rows = [[part, *(column.get(part, "") for column in columns.values())] for part in parts]
    about = f"{measured.device}, {shape}, medians of {repeats}"
    return f"{_table(rows, ['part', *columns])}\n\n{about}; {'; '.join(notes)}"


def _giga(flops: int | None) -> str:
    if flops is None:
        return ""
    return f"{flops / 1e9:.1f}" if flops >= 1e10 else f"{flops / 1e9:.3g}"


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    alignment = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=alignment)
