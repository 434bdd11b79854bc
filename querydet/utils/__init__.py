"""Utilities without knowledge of detectors: atomic files, provenance, processes and transfers."""
