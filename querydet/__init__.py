"""querydet: query-based object detectors for Detectron2, built from injected parts.

The public names are imported when they are first used: ``import querydet`` loads neither torch nor Detectron2.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

if importlib.util.find_spec("detectron2") is None:
    raise ModuleNotFoundError(
        "querydet needs Detectron2, which has no release on PyPI under its own name: pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2.git'",
        name="detectron2",
    )

if TYPE_CHECKING:
    from querydet import model_zoo
    from querydet.config import get_config, load_config
    from querydet.engine import build_model, evaluate, train
    from querydet.inference.predictor import Predictor
    from querydet.modeling.detector import QueryDetector
    from querydet.modeling.meta_arch import DETA, DINO, DNDETR, MSDETR, GroupDETR

__version__ = "0.2.0"  # setuptools reads it without running this file

__all__ = [
    "DETA",
    "DINO",
    "DNDETR",
    "MSDETR",
    "GroupDETR",
    "Predictor",
    "QueryDetector",
    "__version__",
    "build_model",
    "evaluate",
    "get_config",
    "load_config",
    "model_zoo",
    "train",
]

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    _MODULES = {
        "DETA": "querydet.modeling.meta_arch",
        "DINO": "querydet.modeling.meta_arch",
        "DNDETR": "querydet.modeling.meta_arch",
        "GroupDETR": "querydet.modeling.meta_arch",
        "MSDETR": "querydet.modeling.meta_arch",
        "Predictor": "querydet.inference.predictor",
        "QueryDetector": "querydet.modeling.detector",
        "build_model": "querydet.engine",
        "evaluate": "querydet.engine",
        "get_config": "querydet.config",
        "load_config": "querydet.config",
        "train": "querydet.engine",
    }

    def __getattr__(name):
        """Import a public name when it is first used."""
        if name == "model_zoo":
            return importlib.import_module("querydet.model_zoo")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value

    def __dir__():
        """Return the public names beside those that are imported already."""
        return sorted({*globals(), *__all__})
