"""querydet: query-based object detectors for Detectron2, built from injected parts."""

import importlib.util
from typing import Any

if importlib.util.find_spec("detectron2") is None:
    raise ModuleNotFoundError(
        "querydet needs Detectron2, which has no release on PyPI under its own name: pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2.git'",
        name="detectron2",
    )

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``querydet.Predictor``, imported when it is asked for: configs need nothing of it."""
    if name == "Predictor":
        from querydet.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
