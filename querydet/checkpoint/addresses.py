"""``querydet://NAME`` wherever Detectron2 takes a path: the converted weights of a published model.

How a name becomes a file is the model zoo's knowledge, or that of a function which takes its place.
"""

import importlib
from collections.abc import Callable
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

PREFIX = "querydet://"


class PublishedModels(PathHandler):
    """Finds the weights of published models for Detectron2's ``PathManager``.

    Args:
        resolve: name of a published model -> path of a local file.
    """

    def __init__(self, resolve: Callable[[str], str]) -> None:
        super().__init__()
        self._resolve = resolve

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return self._resolve(path[len(PREFIX) :])

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return open(self._get_local_path(path), mode, buffering=buffering, **kwargs)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return True

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return True


def register_published_models(resolve: Callable[[str], str]) -> None:
    """Make ``querydet://`` known to Detectron2's ``PathManager``, in place of what was registered before.

    Args:
        resolve: name of a published model -> path of a local file.
    """
    PathManager.register_handler(PublishedModels(resolve), allow_override=True)


def _from_zoo(name: str) -> str:
    """Ask the model zoo, which is built on checkpoints: it is loaded when an address is used."""
    return str(importlib.import_module("querydet.model_zoo").get_checkpoint_file(name))


register_published_models(_from_zoo)
