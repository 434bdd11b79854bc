"""The report's sections on metrics and records of runs: results, curves, timing, runs, configs and pictures."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from querydet.config.safe_yaml import CONFIG_FILE
from querydet.engine.hooks.pictures import FOLDER as PICTURES
from querydet.engine.run.run_record import DIFF_FILE
from querydet.report.parts import (
    MISSING,
    Block,
    Code,
    Section,
    Table,
    Text,
    last_values,
    mean_text,
    photograph,
    plot,
    text_of,
)
from querydet.visualization.curves import AP_METRICS, LOSS, draw_loss_and_ap, draw_metrics
from querydet.visualization.runs import KINDS, Run, RunGroup, Series, shared_settings

MAIN = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
NO_MEASURES = ("grad_norm/", "lr/")  # training metrics whose names have a slash, like those of evaluations
DETAILS = (
    "loss_class",
    "loss_l1",
    "loss_giou",
    "loss_mask",
    "loss_dice",
    "loss_class_enc",
    "loss_class_dn",
    "grad_norm",
    "lr",
)
TIMING = {
    "time": "seconds of an iteration",
    "data_time": "of these waiting for data",
    "compute_time": "of these computing",
    "matching_time": "of these matching",
    "images_per_second": "images per second",
    "memory_mb": "most memory, MB",
}
MOST_COLUMNS = 6
MOST_PICTURES = 8  # per run
MOST_DIFFERENCES = 200
SHOWN_COMMIT = 10  # characters
LONGEST = 200_000  # characters of a config or a patch


def results(groups: Sequence[RunGroup]) -> Section:
    """Build the section of the last value of every metric and the best AP, with groups side by side."""
    names = list(dict.fromkeys(name for group in groups for name in group.names() if _is_measure(name)))
    main = [f"{kind}/{name}" for kind in KINDS for name in MAIN if f"{kind}/{name}" in names]
    classes = {kind: [name for name in names if name.startswith(f"{kind}/AP-")] for kind in KINDS}
    others = [name for name in names if name not in main and all(name not in found for found in classes.values())]
    rows = [["iterations", *(mean_text(_lengths(group), 0) for group in groups)]]
    for kind, word in KINDS.items():
        shown = [name for name in main if name.startswith(f"{kind}/")]
        rows += [_row(word + name.removeprefix(f"{kind}/"), name, groups) for name in shown]
        rows += _best_rows(kind, groups) if f"{kind}/AP" in shown else []
    blocks: list[Block] = [_beside(groups, rows, "COCO's measures of the last evaluation, in percent" if main else "")]
    for kind, word in KINDS.items():
        if classes[kind]:
            table = [_row(name.removeprefix(f"{kind}/AP-"), name, groups) for name in classes[kind]]
            blocks.append(_beside(groups, table, f"{word}AP by class, in percent"))
    if others:
        table = [_row(name, name, groups, 3) for name in others]
        blocks.append(_beside(groups, table, "other measures of the last evaluation"))
    if any(len(group.runs) > 1 for group in groups):
        blocks.append(Text("± is the standard deviation over the runs."))
    return Section("results", "Results", blocks)


def _best_rows(kind: str, groups: Sequence[RunGroup]) -> list[list[str]]:
    series = [group.series(f"{kind}/AP") for group in groups]
    return [
        [f"best {KINDS[kind]}AP", *(mean_text([max(values.values()) for values in of_group]) for of_group in series)],
        ["at iteration" + (", masks" if kind == "segm" else ""), *(mean_text(_best_places(s), 0) for s in series)],
    ]


def _beside(groups: Sequence[RunGroup], rows: Sequence[Sequence[str]], caption: str) -> Table:
    """Build a table with one column per group, or with one row per group if there are many groups."""
    titles = [group.title() for group in groups]
    if len(groups) <= MOST_COLUMNS or len(rows) > len(groups):
        return Table(("", *titles), rows, caption)
    names, *columns = zip(*rows, strict=True)
    return Table(("", *names), [[title, *cells] for title, cells in zip(titles, columns, strict=True)], caption)


def _is_measure(name: str) -> bool:
    return "/" in name and not name.startswith(NO_MEASURES)


def _row(label: str, name: str, groups: Sequence[RunGroup], digits: int = 1) -> list[str]:
    return [label, *(mean_text(last_values(group.series(name)), digits) for group in groups)]


def _lengths(group: RunGroup) -> list[float]:
    return [1.0 + max(max(values) for values in run.metrics.values()) for run in group.runs if run.metrics]


def _best_places(series: Iterable[Series]) -> list[float]:
    return [1.0 + max(values, key=lambda step, of=values: of[step]) for values in series]  # type: ignore[misc]


def curves(groups: Sequence[RunGroup]) -> Section:
    """Build the section of curves: loss and AP, the terms of the loss, learning rate and gradient norms."""
    known = {name for group in groups for name in group.names()}
    blocks: list[Block] = []
    if known & {LOSS, *AP_METRICS}:
        blocks.append(plot(draw_loss_and_ap(groups), "training loss and AP"))
    details = [name for name in DETAILS if name in known]
    details += [name for name in ("instability/IS", "atd/ATD", "recall/proposals-AR") if name in known]
    if details:
        blocks.append(plot(draw_metrics(groups, details), "losses of the last layer, gradients and learning rate"))
    return Section("curves", "Curves", blocks)


def timing(groups: Sequence[RunGroup]) -> Section:
    """Build the section of times: where an iteration spends its time, and how long the run took."""
    rows = []
    for name, label in TIMING.items():
        if any(group.series(name) for group in groups):
            summarize = max if name == "memory_mb" else _median
            cells = [mean_text([summarize(values.values()) for values in group.series(name)], 3) for group in groups]
            rows.append([label, *cells])
    minutes = [[_minutes(run) for run in group.runs if run.parts] for group in groups]
    if any(minutes):
        rows.append(["minutes, start to end", *(mean_text(values) for values in minutes)])
        parts = [[float(len(run.parts)) for run in group.runs if run.parts] for group in groups]
        rows.append(["times started or resumed", *(mean_text(values, 0) for values in parts)])
    if not rows:
        return Section("timing", "Timing")
    return Section("timing", "Timing", [_beside(groups, rows, "medians over the run; memory is the largest value")])


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def _minutes(run: Run) -> float:
    return sum(float(part.get("minutes") or 0) for part in run.parts)


def records(groups: Sequence[RunGroup]) -> Section:
    """Build the section from `run.json`: one row per start or resumption, commands, data and uncommitted changes."""
    runs = [run for group in groups for run in group.runs]
    folders = [[run.label, os.path.abspath(run.folder)] for run in runs]
    starts, data = [], []
    details: list[Block] = []
    for run in runs:
        for part in run.parts:
            commit, git = str(part.get("commit") or "")[:SHOWN_COMMIT], part.get("git") or {}
            cells = [part.get(name) for name in ("start_iteration", "date", "minutes", "machine", "processes")]
            cells += [commit, _state(git), part.get("versions")]
            starts.append([run.label, *(text_of(cell) for cell in cells)])
        if run.parts:
            details.append(Code(f"{run.label}: command", text_of(run.parts[-1].get("command"))))
            data += [[run.label, use, text_of(facts)] for use, facts in (run.parts[-1].get("data") or {}).items()]
        details += _file(run, DIFF_FILE, "changes that were not committed")
    headers = ("run", "from iteration", "date", "minutes", "machine", "processes", "commit", "checkout", "versions")
    blocks: list[Block] = [Table(("run", "folder"), folders)]
    blocks += [Table(headers, starts, "started or resumed")] if starts else []
    blocks += [Table(("run", "used for", "fingerprint"), data, "data")] if data else []
    return Section("runs", "Runs", blocks + details)


def _state(git: dict[str, object]) -> str:
    changed = git.get("changed")
    if not git:
        return MISSING
    return f"{git.get('branch')}, changed: {text_of(changed)}" if changed else f"{git.get('branch')}, unchanged"


def configs(groups: Sequence[RunGroup]) -> Section:
    """Build the section of configs: where those of the groups differ, and each in full."""
    section = Section("config", "Config")
    known = [group for group in groups if group.runs[0].config]
    if len(known) > 1:
        section.blocks.append(_differences(known))
    for group in known:
        section.blocks.extend(_file(group.runs[0], CONFIG_FILE, "config"))
    return section


def _differences(groups: Sequence[RunGroup]) -> Block:
    settings = [shared_settings(group.runs[0].config) for group in groups]
    keys = dict.fromkeys(key for values in settings for key in values)
    rows = [[key, *(values.get(key, MISSING) for values in settings)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return Text("The configs differ in nothing but the seed and the output folder.")
    more = f", the first {MOST_DIFFERENCES} of {len(rows)}" if len(rows) > MOST_DIFFERENCES else ""
    headers = ("key", *(group.label for group in groups))
    return Table(headers, rows[:MOST_DIFFERENCES], f"where the configs differ{more}")


def _file(run: Run, name: str, title: str) -> list[Block]:
    path = os.path.join(run.folder, name)
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(LONGEST + 1)
    cut = "\n[the rest is left out]" if len(text) > LONGEST else ""
    return [Code(f"{run.label}: {title}", text[:LONGEST] + cut)]


def pictures(groups: Sequence[RunGroup]) -> Section:
    """Build the section of pictures: the last of each kind that training drew, and images in the folders."""
    section = Section("pictures", "Pictures")
    for group in groups:
        for run in group.runs:
            for path in _pictures_of(run.folder)[:MOST_PICTURES]:
                title = f"{run.label}: {os.path.basename(path)}"
                try:
                    with Image.open(path) as image:
                        section.blocks.append(photograph(image, title))
                except OSError as error:
                    section.blocks.append(Text(f"{title} cannot be read: {error}"))
    return section


def _pictures_of(folder: str) -> list[str]:
    newest: dict[str, str] = {}
    drawn = os.path.join(folder, PICTURES)
    for name in sorted(os.listdir(drawn)) if os.path.isdir(drawn) else []:
        kind, sign, _ = os.path.splitext(name)[0].rpartition("_")
        if name.lower().endswith((".png", ".jpg")):
            newest[kind if sign else name] = os.path.join(drawn, name)  # iterations have equally many digits
    own = [name for name in sorted(os.listdir(folder)) if name.lower().endswith((".png", ".jpg"))]
    return [*newest.values(), *(os.path.join(folder, name) for name in own if not name.startswith("curves"))]
