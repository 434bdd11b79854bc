"""A report of training runs: one HTML file that needs nothing else."""

from querydet.report.page import Options, make_report

__all__ = ["Options", "make_report"]
