"""The nodes of a config that make a data set: one that reads a file, or others around it (`data.joined`)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from omegaconf import DictConfig, ListConfig, OmegaConf

from querydet.utils.targets import short_name

INNER = ("dataset", "datasets")  # arguments that are data sets themselves


@dataclass(frozen=True)
class AnnotationFile:
    """A file that a config reads.

    Args:
        node: reads it; with `annotations` and `images`.
        start: first image that is used.
        stop: the image after the last one; None: to the end.
    """

    node: DictConfig
    start: int = 0
    stop: int | None = None

    def chosen(self, start: int, stop: int | None) -> "AnnotationFile":
        """Return the same file with some of these images."""
        ends = [end for end in (self.stop, None if stop is None else self.start + stop) if end is not None]
        return replace(self, start=self.start + start, stop=min(ends) if ends else None)


def nodes_of(cfg: DictConfig, key: str) -> Iterator[tuple[str, DictConfig]]:
    """Yield the keys and nodes of a data set: its own first, then those that it is made of.

    Args:
        cfg: a config.
        key: of the data set; what is no node there is left out.
    """
    node = OmegaConf.select(cfg, key)
    if not isinstance(node, DictConfig):
        return
    yield key, node
    for name in INNER:
        inner = node.get(name)
        if isinstance(inner, DictConfig):
            yield from nodes_of(cfg, f"{key}.{name}")
        elif isinstance(inner, ListConfig):
            for index in range(len(inner)):
                yield from nodes_of(cfg, f"{key}.{name}.{index}")


def files_of(node: DictConfig) -> list[AnnotationFile]:
    """Return the files of a data set in the order of their images, without reading them.

    Images are chosen from single files alone: of a choice from several ones, all images are returned.

    Args:
        node: of the data set.
    """
    if "annotations" in node and "images" in node:
        return [AnnotationFile(node)]
    inner = [node.get(name) for name in INNER]
    inner = [item for each in inner if each is not None for item in (each if isinstance(each, ListConfig) else [each])]
    found = [file for each in inner if isinstance(each, DictConfig) for file in files_of(each)]
    if len(found) != 1:
        return found
    name = short_name(node)
    bounds = {
        "first": (0, node.get("count")),
        "without_first": (node.get("count", 0), None),
        "choose": (node.get("start", 0), node.get("stop")),
    }
    return [found[0].chosen(*bounds[name])] if name in bounds else found
