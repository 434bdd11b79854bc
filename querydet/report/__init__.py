"""A report of training runs as one self-contained HTML file."""

from querydet.report.page import Options, make_report

__all__ = ["Options", "make_report"]
