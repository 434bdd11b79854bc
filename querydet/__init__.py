"""querydet: query-based object detectors for Detectron2, built from injected parts."""

import importlib.util

if importlib.util.find_spec("detectron2") is None:
    raise ModuleNotFoundError(
        "querydet needs Detectron2, which has no release on PyPI under its own name: pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2.git'",
        name="detectron2",
    )

__version__ = "0.1.0"
