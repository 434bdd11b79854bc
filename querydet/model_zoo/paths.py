"""``querydet://NAME`` wherever Detectron2 takes a path: the converted weights of a published model."""

from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

PREFIX = "querydet://"


class ModelZooHandler(PathHandler):
    """Lets Detectron2's PathManager find the weights of published models."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        from querydet.model_zoo.zoo import get_checkpoint_file  # which needs the checkpointer, which registers this

        return get_checkpoint_file(path[len(PREFIX) :])

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return open(self._get_local_path(path), mode, buffering=buffering, **kwargs)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return True

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return True


def register() -> None:
    """Makes ``querydet://`` known to Detectron2's PathManager; again does nothing."""
    PathManager.register_handler(ModelZooHandler(), allow_override=True)
