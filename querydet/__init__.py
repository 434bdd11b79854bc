"""querydet: query-based object detectors for Detectron2, built from injected parts."""

__version__ = "0.1.0"
