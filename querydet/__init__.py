"""querydet: query-based object detectors for Detectron2, built from injected parts.

The public names are imported when they are first used: ``import querydet`` loads neither torch nor Detectron2.
"""

import importlib.util
from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if importlib.util.find_spec("detectron2") is None:
    raise ModuleNotFoundError(
        "querydet needs Detectron2, which has no release on PyPI under its own name: pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2.git'",
        name="detectron2",
    )

if TYPE_CHECKING:
    from querydet import model_zoo
    from querydet.config import get_config, load_config
    from querydet.engine.evaluation import evaluate
    from querydet.engine.training import build_model, train
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
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.config": "get_config load_config",
            "querydet.engine.evaluation": "evaluate",
            "querydet.engine.training": "build_model train",
            "querydet.inference.predictor": "Predictor",
            "querydet.model_zoo": "model_zoo",
            "querydet.modeling.detector": "QueryDetector",
            "querydet.modeling.meta_arch": "DETA DINO DNDETR GroupDETR MSDETR",
        },
    )
