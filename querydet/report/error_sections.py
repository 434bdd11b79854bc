"""The report's section on detection errors, for runs that have a results file and whose data is available."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure
from omegaconf import DictConfig

from querydet.config import load_config
from querydet.config.safe_yaml import CONFIG_FILE
from querydet.data.catalog import DetectionDataset
from querydet.data.existing_data import existing_data_only
from querydet.data.validation_set import load_test_data
from querydet.evaluation.error_analysis import Settings, analyze_errors
from querydet.evaluation.error_costs import SPECIAL
from querydet.evaluation.errors import ERRORS
from querydet.evaluation.image_detections import masks_of_images
from querydet.evaluation.results_file import find_results, read_detections, read_results
from querydet.report.parts import Block, Section, Table, Text, photograph, plot
from querydet.visualization.error_figures import COLORS, draw_confusion, draw_costs, draw_precision, draw_worst
from querydet.visualization.figures import new_figure
from querydet.visualization.grids import Panel, render_grid
from querydet.visualization.runs import Run, RunGroup

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
Analyze = Callable[[Run, str, Settings, Progress], tuple[dict[str, Any], list[Block]]]
MASKS_KEY = "dataloader.test.dataset.masks"
MOST_RUNS = 8  # runs with figures; the tables list all runs


def error_section(groups: Sequence[RunGroup], settings: Settings, progress: Progress) -> Section:
    """Build the section: costs of errors and precision of all runs, then the figures of each run.

    Args:
        groups: groups of runs.
        settings: of the analysis.
        progress: wraps the images of a run for a progress bar; called with the images and the run's label.
    """
    section = Section("errors", "Precision and errors")
    analyses: dict[str, dict[str, Any]] = {}
    blocks: list[Block] = []
    missing: list[tuple[str, str]] = []
    for run in (run for group in groups for run in group.runs):
        try:
            path = find_results(run.folder)
        except FileNotFoundError as error:
            missing.append((run.label, str(error)))
            continue
        for label, analyze in _analyses(run):
            try:
                analysis, pictures = analyze(run, path, settings, progress)
            except (OSError, ValueError, KeyError) as error:  # the data was moved or has changed
                section.blocks.append(Text(f"{label}: {path} could not be analysed: {error}"))
                continue
            analyses[label] = analysis
            if len(analyses) <= MOST_RUNS:
                blocks += pictures
    if missing:
        others = ", ".join(label for label, _ in missing[1:])
        section.blocks.append(Text(missing[0][1] + (f"\nThe same for {others}." if others else "")))
    if analyses:
        section.blocks.append(_table(analyses))
        if len(analyses) > 1:
            section.blocks.append(plot(draw_precisions(analyses), "precision over recall, mean over the classes"))
        section.blocks.extend(blocks)
    return section


def _analyses(run: Run) -> list[tuple[str, Analyze]]:
    """Return what is analysed of a run, by label: boxes, and masks where its test data have some."""
    masks = run.config.get(MASKS_KEY, "").lower() == "true"
    return [(run.label, _analyze_boxes), *([(f"{run.label}, masks", _analyze_masks)] if masks else [])]


def _analyze_boxes(run: Run, path: str, settings: Settings, progress: Progress) -> tuple[dict[str, Any], list[Block]]:
    cfg, dataset = _load(run)
    rows = read_results(path, dataset)
    analysis = analyze_errors(dataset, rows, settings, lambda images: progress(images, run.label))
    return analysis, _figures(
        analysis, run.label, lambda: draw_worst(analysis, dataset, rows, settings, cfg.dataloader.test.get("mapper"))
    )


def _analyze_masks(run: Run, path: str, settings: Settings, progress: Progress) -> tuple[dict[str, Any], list[Block]]:
    label = f"{run.label}, masks"
    cfg, dataset = _load(run)
    detections = read_detections(path, dataset)
    rows, masks = {image_id: image.rows for image_id, image in detections.items()}, masks_of_images(detections)
    if masks is None:
        raise ValueError("it has no masks")
    analysis = analyze_errors(dataset, rows, settings, lambda images: progress(images, label), masks)
    mapper = cfg.dataloader.test.get("mapper")
    return analysis, _figures(analysis, label, lambda: draw_worst(analysis, dataset, rows, settings, mapper, masks))


def _load(run: Run) -> tuple[DictConfig, DetectionDataset]:
    cfg = load_config(os.path.join(run.folder, CONFIG_FILE))
    with existing_data_only():
        return cfg, load_test_data(cfg)


def _figures(analysis: dict[str, Any], label: str, worst: Callable[[], list[Panel]]) -> list[Block]:
    blocks: list[Block] = [
        plot(draw_costs(analysis), f"{label}: cost and number of errors"),
        plot(draw_precision(analysis), f"{label}: precision over recall"),
        plot(draw_confusion(analysis), f"{label}: confusions"),
    ]
    if analysis["worst"]:
        try:
            blocks.append(photograph(render_grid(worst(), legend=COLORS), f"{label}: the worst images"))
        except (OSError, ValueError) as error:
            blocks.append(Text(f"{label}: the worst images cannot be drawn: {error}"))
    return blocks


def _table(analyses: dict[str, dict[str, Any]]) -> Table:
    sizes = [analysis["sizes"]["all"] for analysis in analyses.values()]
    threshold = next(iter(analyses.values()))["settings"]["positive"]
    rows = [[f"AP at IoU {threshold:g}", *(f"{size['AP']:.1f}" for size in sizes)]]
    rows += [[f"+ without {name}", *(f"{size['gain'][name]:.2f}" for size in sizes)] for name in (*ERRORS, *SPECIAL)]
    rows += [[f"number: {name}", *(str(size["counts"][name]) for size in sizes)] for name in ERRORS]
    rows.append(["COCO's measures by", *(" ".join(analysis["backend"].values()) for analysis in analyses.values())])
    return Table(("", *analyses), rows, "AP, in percent, what it gains without one kind of error (TIDE), and how many")


def draw_precisions(analyses: dict[str, dict[str, Any]]) -> Figure:
    """Draw precision over recall of several runs, at IoU 0.5 and averaged over COCO's IoU thresholds."""
    figure = new_figure(11, 4.2)
    for axes, name in zip(figure.subplots(1, 2), ("0.50", "0.50:0.95"), strict=True):
        for label, analysis in analyses.items():
            values = analysis["curves"]["iou"][name]
            if values:
                axes.plot(analysis["curves"]["recall"], values, label=f"{label} ({100 * sum(values) / 101:.1f})")
        axes.set(title=f"IoU {name}", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    return figure
