"""Annotations of large json files as columns of numbers that all processes share."""

from querydet.data.columns.cache import LEAST_BYTES, read_columns
from querydet.data.columns.records import ColumnRecords

__all__ = ["LEAST_BYTES", "ColumnRecords", "read_columns"]
