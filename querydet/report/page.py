"""Assembly of a report: one HTML file without scripts, external links or files beside it."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import querydet
from querydet.evaluation.error_analysis import Settings
from querydet.report import sections
from querydet.report.error_sections import Progress, error_section
from querydet.report.parts import Section
from querydet.visualization.runs import RunGroup


def _silent(items: Iterable[Any], _label: str) -> Iterable[Any]:
    return items


@dataclass(frozen=True, slots=True)
class Options:
    """Contents of a report.

    Args:
        title: heading of the page.
        errors: whether results files are analysed.
        settings: of this analysis.
    """

    title: str = "Training runs"
    errors: bool = True
    settings: Settings = field(default_factory=Settings)


def make_report(groups: Sequence[RunGroup], options: Options | None = None, progress: Progress = _silent) -> str:
    """Render a report as HTML.

    Args:
        groups: groups of runs, from `runs.read_groups`; they are shown side by side.
        options: contents of the report; None: the defaults.
        progress: wraps the images that are analysed for a progress bar; called with the images and the run's label.

    Raises:
        ValueError: there are no runs.
    """
    options = options or Options()
    if not groups:
        raise ValueError("a report needs at least one run")
    all_sections: list[Section] = [sections.results(groups), sections.curves(groups)]
    if options.errors:
        all_sections.append(error_section(groups, options.settings, progress))
    all_sections += [
        sections.pictures(groups),
        sections.timing(groups),
        sections.records(groups),
        sections.configs(groups),
    ]
    environment = Environment(
        loader=PackageLoader("querydet.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        title=options.title,
        runs=", ".join(group.title() for group in groups),
        made=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=querydet.__version__,
        sections=[section for section in all_sections if section.blocks],
    )
